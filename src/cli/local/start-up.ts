import { accessSync, constants, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pino } from 'pino'
import { readFields } from '../../compose/fields.ts'
import { policyPlace, readPolicy } from '../../compose/policy.ts'
import { prepareDatabase } from '../../compose/prepare-database.ts'
import { type Environment, loadConfig } from '../../config/load.ts'
import { openDataDir } from '../../embedded/data-dir.ts'
import { quitPostgres } from '../../embedded/postgres-survivors.ts'
import { TokenvaultError } from '../../errors.ts'
import { createLog, type Log } from '../../log.ts'
import { createDatabase } from '../../store/postgres/database.ts'
import { addLoginColumns } from '../../store/setup/login-columns.ts'
import type { FieldSchema } from '../../vault/fields/fields.ts'
import type { Policy } from '../../vault/policy/policy.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { describeUnreadable } from '../terminal/failure.ts'
import type { StartStep } from '../terminal/start-progress.ts'
import { type EmbeddedStack, startStack } from './embedded-stack.ts'
import { verifierKeyFile } from './evidence-files.ts'
import { fileVariables } from './state.ts'

/** Options of `tokenvault up`. */
export interface UpOptions {
  readonly dataDir: string
  readonly port?: number
  readonly drain?: true
  readonly input?: string
  readonly json?: true
  readonly sample: boolean
  readonly policy?: string
  readonly fields?: string
  readonly metrics?: number
  readonly processes?: number
}

export interface StartedUp {
  readonly stack: EmbeddedStack
  /** A file, because the terminal belongs to the person at it. */
  readonly log: Log
  readonly logLevel: string
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
  readonly files: Environment
  readonly terminal: { write(text: string): unknown }
  readonly onReady: (step: StartStep) => void
}): Promise<StartedUp> {
  const { files, onReady } = options
  const logLevel = readLogLevel(options.environment)
  const dataDir = openDataDir(options.dataDir)
  const signal = stopSignal(() => quitPostgres(dataDir.path))
  signal.addEventListener('abort', () => options.terminal.write('\nstopping …\n'))
  const log = createLog(logLevel, pino.destination({ dest: dataDir.file('tokenvault.log'), mode: 0o600, sync: true }))
  const stack = await startStack({ dataDir, freePorts: options.freePorts, log, files, onReady })
  return { stack, log, logLevel, signal }
}

/** The files of --policy and --fields, read before anything starts. */
export interface UpFiles {
  /** Variables that name them by their absolute paths. */
  readonly variables: Environment
  readonly policyFile: string | undefined
  readonly fieldsFile: string | undefined
  readonly fields: FieldSchema
  readonly policy: Policy
}

/** @throws TokenvaultError `usage` for a file that is not there, `config_invalid`, `policy_invalid` */
export function readUpFiles(options: Pick<UpOptions, 'policy' | 'fields'>): UpFiles {
  for (const name of ['policy', 'fields'] as const) checkReadable(`--${name}`, options[name])
  const [policyFile, fieldsFile] = [options.policy, options.fields].map(path =>
    path === undefined ? path : resolve(path),
  )
  const fields = readFields({ FIELDS_FILE: fieldsFile })
  const place = policyPlace({ POLICY_FILE: options.policy })
  const policy = readPolicy(place, fields)
  return { variables: fileVariables({ policyFile, fieldsFile }), policyFile, fieldsFile, fields, policy }
}

function checkReadable(option: string, path: string | undefined): void {
  try {
    if (path !== undefined) accessSync(path, constants.R_OK)
  } catch (cause) {
    throw new TokenvaultError('usage', `the file of ${option} ${describeUnreadable(cause)}`, { cause })
  }
}

/**
 * What `tokenvault migrate` does; the columns of configured fields, which in production the table's owner adds; and the
 * verifier key put where `tokenvault audit` and `receipt` look for it.
 */
export async function prepareEmbedded(stack: EmbeddedStack, { fields }: Pick<UpFiles, 'fields'>): Promise<void> {
  const config = loadConfig('migrate', { ...stack.environment, DATABASE_URL: stack.adminUrl })
  const { logKeys } = await prepareDatabase(config, { environment: {} })
  const database = createDatabase({ url: stack.adminUrl, poolMax: 1, applicationName: 'tokenvault up' })
  try {
    await addLoginColumns(database, fields)
  } finally {
    await database.destroy()
  }
  writeFileSync(stack.dataDir.file(verifierKeyFile), logKeys)
}

/** The one variable that `up` takes: what else stands in the shell is meant for real servers. */
function readLogLevel({ LOG_LEVEL }: Environment): string {
  return loadConfig('migrate', { LOG_LEVEL, DATABASE_URL: 'postgres://unused', KEK_FILE: 'unused' }).LOG_LEVEL
}
