import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { startPostgres } from '../../../src/embedded/postgres.ts'
import type { ServerChanges } from '../../../src/embedded/postgres-process.ts'
import { readPidFile } from '../../../src/embedded/postgres-survivors.ts'
import { runCommand } from '../cli/cli.ts'
import { temporaryDirectory } from '../embedded/embedded-directory.ts'
import { withLogin } from '../postgres/vault-database.ts'
import type { FaultDatabase } from './world.ts'

/** A Postgres of the test's own, with fsync, that can be killed and started again on its port. */
export interface PostgresServer {
  readonly database: FaultDatabase
  readonly port: number
  /** SIGKILL to the server and everything it started, at once. */
  kill(): void
  /** After a kill: recovery from the write-ahead log. */
  restart(): Promise<void>
  /** How often it recovered, by its own log. */
  recoveries(): number
}

const roles = ['tokenvault_worker', 'tokenvault_auditor', 'tokenvault_api', 'tokenvault_store'] as const

/** A migrated cluster that does not run, to start servers from copies of it. */
export async function makeMigrated(t: Pick<Test, 'teardown'>): Promise<string> {
  const dataDir = temporaryDirectory(t)
  const running = await startPostgres({ dataDir, port: 0 })
  try {
    await migrateServer(t, dataDir, running.adminUrl)
  } finally {
    await running.stop()
  }
  return dataDir
}

/** @param options.copyOf what makeMigrated made; a new cluster is made and migrated without it */
export async function startPostgresServer(
  t: Pick<Test, 'teardown'>,
  options: { readonly changes?: ServerChanges; readonly copyOf?: string } = {},
): Promise<PostgresServer> {
  const { changes = {}, copyOf } = options
  const dataDir = temporaryDirectory(t)
  if (copyOf !== undefined) copyCluster(copyOf, dataDir)
  const start = (port: number) => startPostgres({ dataDir, port, changes })
  let running = await start(0)
  const { port, adminUrl } = running
  t.teardown(() => running.stop())
  if (copyOf === undefined) await migrateServer(t, dataDir, adminUrl)
  const password = (role: string) => readFileSync(join(dataDir, 'passwords', role), 'utf8')
  return {
    database: {
      adminUrl,
      kekFile: join(dataDir, 'kek'),
      urlFor: role => withLogin(adminUrl, role, password(role)),
    },
    port,
    kill: () => killPostgres(dataDir),
    async restart() {
      running = await start(port)
    },
    recoveries: () =>
      readFileSync(join(dataDir, 'postgres.log'), 'utf8').match(/was not properly shut down/g)?.length ?? 0,
  }
}

/** With its owner, whom Postgres runs as. */
export function copyCluster(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['-a', `${from}/.`, to], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
}

async function migrateServer(t: Pick<Test, 'teardown'>, dataDir: string, adminUrl: string): Promise<void> {
  const passwords = join(dataDir, 'passwords')
  mkdirSync(passwords)
  for (const role of roles) writeFileSync(join(passwords, role), randomBytes(16).toString('hex'))
  const kekFile = join(dataDir, 'kek')
  writeFileSync(kekFile, randomBytes(32), { mode: 0o600 })
  const environment = { DATABASE_URL: adminUrl, KEK_FILE: kekFile, ROLE_PASSWORDS_DIR: passwords }
  const { code, stderr } = await runCommand(t as Test, ['migrate'], environment)
  if (code !== 0) throw new Error(stderr)
}

/** SIGKILL to the server of a data directory and everything it started, at once. */
function killPostgres(dataDir: string): void {
  const { pid } = readPidFile(join(dataDir, 'postgres'))
  if (pid === undefined) throw new Error('Postgres does not run')
  for (const victim of [pid, ...childrenOf(pid)]) {
    try {
      process.kill(victim, 'SIGKILL')
    } catch {
      // A session that ended in the meantime.
    }
  }
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        // The name in parentheses may hold spaces; state and parent follow it.
        return (
          Number(
            readFileSync(`/proc/${pid}/stat`, 'utf8')
              .replace(/^.*\) /s, '')
              .split(' ')[1],
          ) === parent
        )
      } catch {
        return false
      }
    })
    .map(Number)
}
