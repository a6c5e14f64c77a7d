import { pino } from 'pino'
import { type Environment, loadConfig } from '../../config/load.ts'
import { openDataDir } from '../../embedded/data-dir.ts'
import { quitPostgres } from '../../embedded/postgres-survivors.ts'
import { createLog, type Log } from '../../log.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { type EmbeddedStack, startStack } from './embedded-stack.ts'

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

/** The one variable that `up` takes: what else stands in the shell is meant for real servers. */
function readLogLevel({ LOG_LEVEL }: Environment): string {
  return loadConfig('migrate', { LOG_LEVEL, DATABASE_URL: 'postgres://unused', KEK_FILE: 'unused' }).LOG_LEVEL
}
