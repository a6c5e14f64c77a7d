import pg from 'pg'
import type { Test } from 'tap'
import { runCommand } from '../cli/cli.ts'
import { createVaultDatabase } from '../postgres/vault-database.ts'
import { loginEvent, poison } from '../queue/events.ts'
import { isLong, type Plan } from './plan.ts'
import { type CommitFate, type PostgresProxy, startPostgresProxy } from './postgres-proxy.ts'
import { type FaultQueue, type QueueFault, startFaultQueue } from './queue.ts'
import { startWorker, type WorkerProcess } from './worker.ts'

/** What of a database a scenario needs, wherever its server runs. */
export interface FaultDatabase {
  readonly adminUrl: string
  readonly kekFile: string
  readonly urlFor: (role: 'tokenvault_worker' | 'tokenvault_auditor' | 'tokenvault_api' | 'tokenvault_store') => string
}

export interface FaultWorldOptions {
  readonly plan: Plan
  /** A database on the shared server, without fsync, where none is given. */
  readonly database?: FaultDatabase
  readonly duplicates?: number
  readonly visibilityTimeoutSeconds?: number
  readonly queueFault?: QueueFault
  readonly commitAsked?: () => CommitFate
  readonly beforeCut?: () => Promise<void>
}

/** A database, a queue and workers, each in processes of their own, with proxies between them. */
export interface FaultWorld {
  readonly queue: FaultQueue
  readonly postgresProxy: PostgresProxy
  /** Sends that many good events, each of a user of its own. */
  sendLogins(count: number, changes?: (n: number) => Record<string, unknown>): Promise<void>
  /** Sends as many that are no events, of all kinds in turn. */
  sendPoison(count: number): Promise<void>
  start(environment?: Readonly<Record<string, string>>, args?: readonly string[]): WorkerProcess
  /** Connections of the superuser, past the proxy. */
  readonly admin: pg.Pool
  /** Messages whose delivery record is committed. */
  receipts(): Promise<number>
  /** Whether every message took effect and is gone from the queue. */
  isDone(): Promise<boolean>
  /** Messages that a worker deleted before their delivery record was committed. */
  readonly wronglySettled: readonly string[]
  /** Counts in SQL, then `tokenvault reconcile`. */
  checkTruth(t: Test): Promise<void>
}

export async function createFaultWorld(t: Test, options: FaultWorldOptions): Promise<FaultWorld> {
  const database = options.database ?? (await createVaultDatabase(t))
  const { commitAsked = () => 'pass' as const, beforeCut } = options
  const postgresProxy = await startPostgresProxy(t, Number(new URL(database.adminUrl).port), commitAsked, beforeCut)
  const wronglySettled: string[] = []
  const admin = new pg.Pool({ connectionString: database.adminUrl, max: 4 })
  // A server that is killed takes the idle ones with it.
  admin.on('error', () => {})
  t.teardown(() => admin.end())
  const checkSettled = async (handles: readonly string[]) => {
    const ids = [...new Set(handles.map(handle => queue.messageOf(handle) ?? handle))]
    const { rows } = await admin.query('SELECT message_id FROM ingest.receipts WHERE message_id = ANY ($1)', [ids])
    const committed = new Set(rows.map(row => row.message_id))
    wronglySettled.push(...ids.filter(id => !committed.has(id)))
  }
  const queue = await startFaultQueue(t, {
    plan: options.plan,
    ...(options.duplicates !== undefined && { duplicates: options.duplicates }),
    ...(options.visibilityTimeoutSeconds !== undefined && {
      visibilityTimeoutSeconds: options.visibilityTimeoutSeconds,
    }),
    async fault(call) {
      // On a server that is killed now and then, what was deleted must be there in the end.
      if (call.action === 'DeleteMessageBatch' && options.database === undefined) {
        await checkSettled(call.input.Entries.map(({ ReceiptHandle }: { ReceiptHandle: string }) => ReceiptHandle))
      }
      return options.queueFault?.(call)
    },
  })

  let logins = 0
  let poisoned = 0
  const throughProxy = new URL(database.urlFor('tokenvault_worker'))
  throughProxy.port = String(postgresProxy.port)
  const receipts = async () => {
    const { rows } = await admin.query('SELECT count(*)::int AS count FROM ingest.receipts')
    return rows[0].count as number
  }
  return {
    queue,
    postgresProxy,
    admin,
    receipts,
    wronglySettled,
    async sendLogins(count, changes = () => ({})) {
      const first = logins
      logins += count
      await queue.send(
        Array.from({ length: count }, (_, n) => JSON.stringify(loginEvent(first + n, changes(first + n)))),
      )
    },
    async sendPoison(count) {
      const first = poisoned
      poisoned += count
      await queue.send(Array.from({ length: count }, (_, n) => poison[(first + n) % poison.length]!.body))
    },
    start: (environment = {}, args = []) =>
      startWorker(
        t,
        {
          DATABASE_URL: throughProxy.href,
          KEK_FILE: database.kekFile,
          SQS_QUEUE_URL: queue.queueUrl,
          AWS_ENDPOINT_URL_SQS: queue.endpoint,
          WORKER_VISIBILITY_TIMEOUT_SECONDS: '10',
          ...environment,
        },
        args,
      ),
    async isDone() {
      // It would be waited for in vain.
      if (wronglySettled.length > 0) throw new Error(`${wronglySettled.length} messages deleted before their commit`)
      return (await receipts()) === queue.sent.size && (await queue.count()) === 0
    },
    async checkTruth(t) {
      const { rows } = await admin.query(`SELECT
        (SELECT count(*)::int FROM public.user_logins) AS rows,
        (SELECT count(DISTINCT user_id)::int FROM public.user_logins) AS users,
        (SELECT count(*)::int FROM pii_vault.quarantine) AS quarantined,
        (SELECT count(DISTINCT message_id)::int FROM pii_vault.quarantine) AS poison,
        (SELECT count(*)::int FROM ingest.receipts) AS receipts`)
      const truth = {
        rows: logins,
        users: logins,
        quarantined: poisoned,
        poison: poisoned,
        receipts: logins + poisoned,
      }
      t.strictSame(rows[0], truth, '0 lost, 0 stored twice, sent = rows + quarantined')
      t.strictSame(wronglySettled, [], 'nothing was deleted before it was committed')
      const { code, stdout, stderr } = await runCommand(t, ['reconcile', '--json'], {
        DATABASE_URL: database.urlFor('tokenvault_auditor'),
      })
      t.equal(code, 0, `reconcile ${stdout} ${stderr}`)
    },
  }
}

/** For `t.test`: the long tier takes its time. */
export const scenario = { timeout: isLong ? 1_800_000 : 110_000 }
