import { databaseUrl, type Environment, examineConfig } from '../../config/load.ts'
import type { Config, ProcessName } from '../../config/variables.ts'
import { TokenvaultError } from '../../errors.ts'
import { parseConnectionUrl } from '../../store/postgres/connection-url.ts'
import { createDatabase, type TokenvaultDatabase } from '../../store/postgres/database.ts'
import { inspectServer, type ServerFacts } from '../../store/postgres/inspect.ts'
import type { LoginRole } from '../../store/setup/role-passwords.ts'
import { type Finding, skip } from './findings.ts'

/** For whom something is checked: processes, and people who have a database role of their own. */
export const subjectNames = ['migrate', 'worker', 'api', 'lambda', 'dlq', 'auditor', 'analyst'] as const
export type SubjectName = (typeof subjectNames)[number]

interface Kind {
  /** Whose variables it reads. */
  readonly reads: ProcessName
  /** Whose rights its DATABASE_URL must have; absent where no database is needed, or where it is the owner's. */
  readonly role?: LoginRole
}

/** What distinguishes the subjects. The role also tells, by the name in DATABASE_URL, which subject a URL is for. */
export const kinds: Readonly<Record<SubjectName, Kind>> = {
  migrate: { reads: 'migrate' },
  worker: { reads: 'worker', role: 'tokenvault_worker' },
  api: { reads: 'api', role: 'tokenvault_api' },
  lambda: { reads: 'lambda', role: 'tokenvault_worker' },
  dlq: { reads: 'dlq' },
  auditor: { reads: 'reconcile', role: 'tokenvault_auditor' },
  analyst: { reads: 'audit', role: 'tokenvault_analyst' },
}

/** A subject and the environment that it would be started with. */
export interface Given {
  readonly name: SubjectName
  readonly environment: Environment
}

/**
 * The subjects that an environment is for. The login in DATABASE_URL decides where it is one of the product's; otherwise
 * the variables do that only one process reads.
 */
export function guessSubjects(environment: Environment): readonly SubjectName[] {
  const { DATABASE_URL: url } = examineConfig('audit', environment).config
  const login = url === undefined ? undefined : loginOf(url)
  const byLogin = (['worker', 'api', 'auditor', 'analyst'] as const).find(name => kinds[name].role === login)
  if (byLogin !== undefined) return [byLogin]
  const isAny = (...names: string[]) => names.some(name => isGiven(environment, name))
  const byVariables = [
    ...(isAny('SQS_QUEUE_URL') ? (['worker'] as const) : []),
    ...(isAny('JWKS_URL', 'JWT_ISSUER', 'JWT_ISSUERS_FILE') ? (['api'] as const) : []),
  ]
  if (byVariables.length > 0) return byVariables
  return isAny('DATABASE_URL') ? ['migrate'] : []
}

function isGiven(environment: Environment, name: string): boolean {
  return Boolean(environment[name] || environment[`${name}_FILE`])
}

function loginOf(url: string): string | undefined {
  try {
    return parseConnectionUrl(url).user
  } catch {
    // Told by the check of the server.
    return undefined
  }
}

/** What the checks of a subject share; each part is made once, when a check first needs it. */
export interface Subject {
  readonly name: SubjectName
  readonly kind: Kind
  readonly environment: Environment
  /** The variables that are right; those that are not are missing here. */
  readonly config: Partial<Config<ProcessName>>
  readonly problems: readonly string[]
  /** Whether a variable is set at all, rightly or not, as itself or in a file. */
  isGiven(name: string): boolean
  /** A database that has answered. @throws TokenvaultError `store_unavailable`, `store_misconfigured` */
  connect(): Promise<Connected>
  /** What is to be let go of at the end. */
  defer(close: () => void): void
  close(): Promise<void>
}

export interface Connected {
  readonly database: TokenvaultDatabase
  readonly server: ServerFacts
  /** By this host's clock around the question for the server's. */
  readonly sentAtMs: number
  readonly receivedAtMs: number
}

/** Every statement is small; a server that takes longer has a fault of its own. */
export const statementTimeoutMilliseconds = 5_000

export function openSubject({ name, environment }: Given): Subject {
  const kind = kinds[name]
  const { config, problems } = examineConfig<ProcessName>(kind.reads, environment)
  const closing: (() => void)[] = []
  let database: TokenvaultDatabase | undefined
  let connected: Promise<Connected> | undefined
  const connect = async (): Promise<Connected> => {
    const { DATABASE_URL: url } = config
    if (url === undefined) throw new TokenvaultError('config_invalid', 'DATABASE_URL is missing or wrong')
    database = createDatabase({
      url: databaseUrl({ ...config, DATABASE_URL: url }),
      poolMax: 2,
      applicationName: 'tokenvault doctor',
      statementTimeoutMilliseconds,
    })
    // The first question pays for the connection; the clock is read by one that does not.
    await inspectServer(database)
    const sentAtMs = Date.now()
    const server = await inspectServer(database)
    return { database, server, sentAtMs, receivedAtMs: Date.now() }
  }
  return {
    name,
    kind,
    environment,
    config,
    problems,
    isGiven: name => isGiven(environment, name),
    connect() {
      connected ??= connect()
      return connected
    },
    defer: close => void closing.push(close),
    async close() {
      for (const close of closing) close()
      await connected?.catch(() => {})
      await database?.destroy()
    },
  }
}

/** Runs a check that needs the database; one that cannot be reached is told by the check of the server, and once is enough. */
export async function whenConnected(
  subject: Subject,
  work: (connected: Connected) => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  let connected: Connected
  try {
    connected = await subject.connect()
  } catch {
    return [skip('there is no connection to the database')]
  }
  return work(connected)
}
