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
  /** From now on tokens are detokenized all the time, one after the other; returns what ends it. */
  callWith(token: string): () => Promise<void>
  isRunning(): boolean
  /** SIGTERM. */
  end(): Promise<{ readonly code: number | null }>
}

const audience = 'tokenvault'

/** Faults are to be the only limit: nobody has to approve, and no budget ends. */
const policy = `version: 1
roles:
  investigator:
    reveal: { "*": full }
    purposes: ["*"]
    batch_limit: 10
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
    return false
  }
  const detokenize = async (token: string) => {
    try {
      const reply = await fetch(`http://127.0.0.1:${port}/v1/detokenize`, {
        method: 'POST',
        headers: { authorization: `Bearer ${jwt}`, 'content-type': 'application/json' },
        body: JSON.stringify({ purpose: 'fault_test', tokens: [token] }),
      })
      // biome-ignore lint/suspicious/noExplicitAny: what it says is looked at below
      const body = (await reply.json()) as any
      if (reply.status !== 200) return refuse(String(body.code ?? reply.status))
      calls.sequences.push(body.receipt.sequence)
      return body.results[0].value !== undefined
    } catch {
      return refuse('unreachable')
    }
  }
  return {
    published,
    calls,
    output,
    detokenize,
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
