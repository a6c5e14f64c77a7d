import { writeFileSync } from 'node:fs'
import { pino } from 'pino'
import { prepareDatabase } from '../../compose/prepare-database.ts'
import { type Environment, loadConfig } from '../../config/load.ts'
import { openDataDir } from '../../embedded/data-dir.ts'
import { quitPostgres } from '../../embedded/postgres-survivors.ts'
import { createLog, type Log } from '../../log.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { type EmbeddedStack, startStack } from './embedded-stack.ts'
import { verifierKeyFile } from './evidence-files.ts'

/** Options of `tokenvault up`. */
export interface UpOptions {
  readonly dataDir: string
  readonly port?: number
  readonly drain?: true
  readonly input?: string
  readonly json?: true
  readonly sample: boolean
}

export interface StartedUp {
  readonly stack: EmbeddedStack
  /** A file, because the terminal belongs to the person at it. */
  readonly log: Log
  /** Aborted already where somebody stopped the start itself; then the stack is whole all the same, and to be stopped. */
  readonly signal: AbortSignal
}

/**
 * Locks the data directory and starts the stack on it. From the lock on, the first Ctrl-C is answered at once and stops
 * in order, and a later one takes Postgres, which is in a session of its own, along.
 *
 * @param options.terminal where a stop is answered
 * @throws TokenvaultError `config_invalid`, `already_running`, `embedded_failed`, `port_unavailable`
 */
export async function startUp(options: {
  readonly dataDir: string
  readonly freePorts: boolean
  readonly environment: Environment
  readonly terminal: { write(text: string): unknown }
}): Promise<StartedUp> {
  const logLevel = readLogLevel(options.environment)
  const dataDir = openDataDir(options.dataDir)
  const signal = stopSignal(() => quitPostgres(dataDir.path))
  signal.addEventListener('abort', () => options.terminal.write('\nstopping …\n'))
  const log = createLog(logLevel, pino.destination({ dest: dataDir.file('tokenvault.log'), mode: 0o600, sync: true }))
  const stack = await startStack({ dataDir, freePorts: options.freePorts, log })
  return { stack, log, signal }
}

/** What `tokenvault migrate` does, and the verifier key put where `tokenvault audit` and `receipt` look for it. */
export async function prepareEmbedded(stack: EmbeddedStack): Promise<void> {
  const config = loadConfig('migrate', { ...stack.environment, DATABASE_URL: stack.adminUrl })
  const { verifierKey } = await prepareDatabase(config)
  writeFileSync(stack.dataDir.file(verifierKeyFile), `${verifierKey}\n`)
}

/** The one variable that `up` takes: what else stands in the shell is meant for real servers. */
function readLogLevel({ LOG_LEVEL }: Environment): string {
  return loadConfig('migrate', { LOG_LEVEL, DATABASE_URL: 'postgres://unused', KEK_FILE: 'unused' }).LOG_LEVEL
}
