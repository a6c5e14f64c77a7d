import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Test } from 'tap'
import { startIssuer } from '../../../src/embedded/issuer.ts'
import { runCommand, startCommand } from '../cli/cli.ts'
import { temporaryDirectory } from '../embedded/embedded-directory.ts'
import { until } from './plan.ts'
import type { FaultDatabase } from './world.ts'

/** What the callers of an API were told. */
export interface Calls {
  /** Places in the audit log of which the API gave receipts. */
  readonly sequences: number[]
  /** How many calls were refused, by code; `unreachable` where there was no answer. */
  readonly refused: Map<string, number>
}

export interface FaultApi {
  /** Directory of published checkpoints. */
  readonly published: string
  readonly calls: Calls
  /** Everything it logged. */
  output(): string
  /** Asks for the value of a token. @returns whether it was given */
  detokenize(token: string): Promise<boolean>
  /** Stores device ids. @returns their tokens; undefined where the call was refused, and then no reply named a token */
  store(values: readonly string[]): Promise<readonly string[] | undefined>
  /** From now on tokens are detokenized all the time, one after the other; returns what ends it. */
  callWith(token: string): () => Promise<void>
  isRunning(): boolean
  /** SIGKILL; resolves once it has ended. */
  kill(): Promise<unknown>
  /** SIGTERM. */
  end(): Promise<{ readonly code: number | null }>
}

const audience = 'tokenvault'

/** Faults are to be the only limit: nobody has to approve, and no budget ends. */
const policy = `version: 1
roles:
  investigator:
    reveal: { "*": full }
    store: ["*"]
    purposes: ["*"]
    batch_limit: 100
    budget: { per_minute: 1000000, per_day: 10000000 }
`

/**
 * `tokenvault api` in a process of its own, with an issuer, and checkpoints that are published each second.
 *
 * @param published the directory in which an API before it published
 */
export async function startApi(
  t: Test,
  database: FaultDatabase,
  environment: Readonly<Record<string, string>> = {},
  published = temporaryDirectory(t),
): Promise<FaultApi> {
  const policyFile = join(temporaryDirectory(t), 'policy.yaml')
  writeFileSync(policyFile, policy)
  const issuer = await startIssuer({ dataDir: temporaryDirectory(t), port: 0, audience })
  t.teardown(() => issuer.stop())
  const command = startCommand(t, ['api'], {
    DATABASE_URL: database.urlFor('tokenvault_api'),
    KEK_FILE: database.kekFile,
    JWT_ISSUER: issuer.issuer,
    JWT_AUDIENCE: audience,
    JWKS_URL: issuer.jwksUrl,
    CHECKPOINT_URL: `${pathToFileURL(published)}/`,
    CHECKPOINT_SECONDS: '1',
    POLICY_FILE: policyFile,
    RATE_LIMIT_PER_MINUTE: '1000000',
    PORT: '0',
    ...environment,
  })
  const output = () => command.stdout() + command.stderr()
  const isRunning = () => command.process.exitCode === null && command.process.signalCode === null
  const findPort = () => /"event":"api_listening","port":(\d+)/.exec(output())?.[1]
  await until('the API listens', () => findPort() !== undefined || !isRunning())
  const port = findPort()
  if (port === undefined) throw new Error(output())
  const jwt = await issuer.sign({ subject: 'fault-caller', roles: ['investigator'], lifetimeSeconds: 3600 })
  const calls: Calls = { sequences: [], refused: new Map() }
  const refuse = (code: string) => {
    calls.refused.set(code, (calls.refused.get(code) ?? 0) + 1)
  }
  const call = async (path: string, asked: object) => {
    try {
      const reply = await fetch(`http://127.0.0.1:${port}${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${jwt}`, 'content-type': 'application/json' },
        body: JSON.stringify({ purpose: 'fault_test', ...asked }),
      })
      const text = await reply.text()
      if (reply.status !== 200 && /_v1_/.test(text)) throw new Error('a refusal tells a token')
      // biome-ignore lint/suspicious/noExplicitAny: what it says is looked at below
      const body = JSON.parse(text) as any
      if (reply.status === 200) calls.sequences.push(body.receipt.sequence)
      else refuse(String(body.code ?? reply.status))
      return reply.status === 200 ? body.results : undefined
    } catch (error) {
      if (error instanceof Error && error.message === 'a refusal tells a token') throw error
      refuse('unreachable')
      return undefined
    }
  }
  const detokenize = async (token: string) =>
    (await call('/v1/detokenize', { tokens: [token] }))?.[0].value !== undefined
  return {
    published,
    calls,
    output,
    detokenize,
    async store(values) {
      const asked = { store: true, values: values.map(value => ({ field: 'device_id', value })) }
      return (await call('/v1/tokenize', asked))?.map(({ token }: { token: string }) => token)
    },
    callWith(token) {
      let isOver = false
      const calling = (async () => {
        while (!isOver) await detokenize(token)
      })()
      return async () => {
        isOver = true
        await calling
      }
    },
    isRunning,
    kill() {
      command.process.kill('SIGKILL')
      return command.ended
    },
    async end() {
      command.process.kill('SIGTERM')
      return command.ended
    },
  }
}

/** `tokenvault audit verify` against the checkpoints that an API published. */
export async function verifyAudit(t: Test, database: FaultDatabase, published: string) {
  const environment = { DATABASE_URL: database.adminUrl, KEK_FILE: database.kekFile }
  const key = await runCommand(t, ['audit', 'key'], environment)
  if (key.code !== 0) throw new Error(key.stderr)
  const args = ['audit', 'verify', '--json', '--key', key.stdout.trim(), '--checkpoint', published]
  const { code, stdout } = await runCommand(t, args, { DATABASE_URL: database.urlFor('tokenvault_auditor') })
  return { code, result: JSON.parse(stdout) }
}

/** Whether an API published a checkpoint of at least so many events. */
export function hasCheckpoint(published: string, events: number): boolean {
  return readdirSync(published).some(name => Number.parseInt(name, 10) >= events)
}
