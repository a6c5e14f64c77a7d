import { readFileSync, statSync } from 'node:fs'
import Type from 'typebox'
import Value from 'typebox/value'
import { TokenvaultError } from '../errors.ts'
import { type Config, type ProcessName, type Variable, variablesOf } from './variables.ts'

/** What the environment holds: names to text, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>

/** Variables that hold the URL of a database. */
const databaseUrls = ['DATABASE_URL', 'STORE_DATABASE_URL', 'PRIVACY_DATABASE_URL'] as const

/** Two variables of which neither does anything without the other. */
const pairs = [
  ['APPROVAL_WEBHOOK_URL', 'APPROVAL_WEBHOOK_SECRET'],
  ['ALARM_WEBHOOK_URL', 'ALARM_WEBHOOK_SECRET'],
] as const

/**
 * Reads and checks what one process needs from its environment.
 *
 * @param processName which process's variables
 * @param environment names to text; an empty text counts as not set. A text may be given in a file instead, by NAME_FILE
 * @returns every variable of that process under its own name, numbers as numbers, frozen
 * @throws TokenvaultError `config_invalid`, with every problem in one message and no value in it
 */
export function loadConfig<P extends ProcessName>(processName: P, environment: Environment): Config<P> {
  const { config, problems } = examineConfig(processName, environment)
  if (problems.length > 0) throw new TokenvaultError('config_invalid', listProblems(problems))
  // Each variable of exactly this process was checked against its own schema.
  return config as Config<P>
}

/** As loadConfig, for who wants to go on with the variables that are right. @returns these, and a line for every problem */
export function examineConfig<P extends ProcessName>(
  processName: P,
  environment: Environment,
): { readonly config: Partial<Config<P>>; readonly problems: readonly string[] } {
  const variables = variablesOf(processName)
  const problems: string[] = []
  const texts = new Map<string, string | typeof unreadable>()
  const config: Record<string, string | number> = {}
  for (const [name, variable] of variables) {
    const text = readText(name, environment, problems)
    if (text !== undefined) texts.set(name, text)
    if (text === unreadable) continue
    const value = text === undefined ? variable.defaultValue : parse(variable, text)
    const problem =
      value === undefined && Type.IsOptional(variable.schema) ? undefined : findProblem(variable, text, value)
    if (problem !== undefined) problems.push(describeProblem(name, problem, variable))
    else if (value !== undefined) config[name] = value
  }
  // One whose file cannot be read was given, and is told already.
  for (const pair of pairs) {
    const lone = pair.find((name, place) => {
      return variables.has(name) && !texts.has(name) && typeof texts.get(pair[1 - place]!) === 'string'
    })
    if (lone !== undefined) problems.push(describeProblem(lone, 'is not set', variables.get(lone)!))
  }
  for (const prefix of ['', 'NEXT_']) problems.push(...findKekProblems(prefix, config, variables, texts))
  if (variables.has('JWT_ISSUERS_FILE')) problems.push(...findIssuerProblems(variables, texts))
  const directory = config['ROLE_PASSWORDS_DIR']
  if (directory !== undefined && !isDirectory(String(directory))) problems.push('ROLE_PASSWORDS_DIR is not a directory')
  for (const name of databaseUrls) {
    const path = environment[`${name}_FILE`]
    if (variables.has(name) && path) config[`${name}_FILE`] = path
  }
  return { config: Object.freeze(config) as Partial<Config<P>>, problems }
}

/**
 * Gives the URL of the database for each new session. That of a file is read again, since what rotates passwords or makes
 * access tokens of minutes writes it there.
 *
 * @returns throws TokenvaultError `store_unavailable` while the file cannot be read or is empty, and `store_misconfigured`
 *   while it holds something that is not a URL
 */
export function databaseUrl(config: Pick<Config<'audit'>, 'DATABASE_URL' | 'DATABASE_URL_FILE'>): () => string {
  return rereadingUrl('DATABASE_URL', config.DATABASE_URL, config.DATABASE_URL_FILE)
}

/** As databaseUrl, of the role that stores; undefined where values are not stored. */
export function storeDatabaseUrl(
  config: Pick<Config<'api'>, 'STORE_DATABASE_URL' | 'STORE_DATABASE_URL_FILE'>,
): (() => string) | undefined {
  const { STORE_DATABASE_URL: url, STORE_DATABASE_URL_FILE: path } = config
  return url === undefined ? undefined : rereadingUrl('STORE_DATABASE_URL', url, path)
}

/** As databaseUrl, of the role that answers people; undefined where none are answered. */
export function privacyDatabaseUrl(
  config: Pick<Config<'api'>, 'PRIVACY_DATABASE_URL' | 'PRIVACY_DATABASE_URL_FILE'>,
): (() => string) | undefined {
  const { PRIVACY_DATABASE_URL: url, PRIVACY_DATABASE_URL_FILE: path } = config
  return url === undefined ? undefined : rereadingUrl('PRIVACY_DATABASE_URL', url, path)
}

function rereadingUrl(name: (typeof databaseUrls)[number], url: string, path: string | undefined): () => string {
  if (path === undefined) return () => url
  const variable = variablesOf('api').get(name)!
  return () => {
    const again = 'it is read again for the next session'
    const problems: string[] = []
    const text = readText(name, { [`${name}_FILE`]: path }, problems)
    if (text === unreadable) throw new TokenvaultError('store_unavailable', `${problems[0]}; put it back, ${again}`)
    if (text === undefined) throw new TokenvaultError('store_unavailable', `${name}_FILE is empty; ${again}`)
    const problem = findProblem(variable, text, text)
    if (problem === undefined) return text
    throw new TokenvaultError('store_misconfigured', `${name}_FILE ${problem}; write the whole URL there, ${again}`)
  }
}

/** An issuer is named by variables, or several are in a file; never both, because nobody could tell which counts. */
function findIssuerProblems(variables: ReadonlyMap<string, Variable>, texts: ReadonlyMap<string, unknown>): string[] {
  const required = ['JWT_ISSUER', 'JWT_AUDIENCE', 'JWKS_URL']
  if (texts.has('JWT_ISSUERS_FILE')) {
    const given = [...required, 'JWT_CLIENT_IDS'].filter(name => texts.has(name))
    return given.map(name => `${name} and JWT_ISSUERS_FILE are both set; keep one`)
  }
  const missing = required.filter(name => !texts.has(name))
  return missing.map(name => describeProblem(name, 'is not set', variables.get(name)!))
}

/** What each provider of the key-encryption key needs, and what it may have beside that. */
const kekVariables = new Map([
  ['local', { needed: 'KEK_FILE', optional: ['KEK_IDENTITY_FILE'] }],
  ['aws-kms', { needed: 'KMS_KEY_ARN', optional: [] }],
  ['command', { needed: 'KEK_COMMAND', optional: [] }],
])

/**
 * One that belongs to another provider would be passed over in silence, with a key that nobody meant.
 *
 * @param prefix of the variables: those of the key in use have none
 */
function findKekProblems(
  prefix: string,
  config: Readonly<Record<string, unknown>>,
  variables: ReadonlyMap<string, Variable>,
  texts: ReadonlyMap<string, unknown>,
): string[] {
  const [name, provider] = [`${prefix}KEK_PROVIDER`, config[`${prefix}KEK_PROVIDER`]]
  if (!variables.has(name)) return []
  const given = [...kekVariables].flatMap(([provider, { needed, optional }]) =>
    [needed, ...optional].filter(part => texts.has(prefix + part)).map(part => ({ part: prefix + part, provider })),
  )
  // One that is wrong was told.
  if (provider === undefined && texts.has(name)) return []
  if (provider === undefined)
    return given.map(
      ({ part, provider }) => `${part} is set without ${name}; leave it out, or set ${name} to ${provider}`,
    )
  const needed = prefix + kekVariables.get(String(provider))!.needed
  const missing = texts.has(needed) ? [] : [describeProblem(needed, 'is not set', variables.get(needed)!)]
  const foreign = given.filter(other => other.provider !== provider)
  const say = ({ part, provider: other }: (typeof given)[number]) =>
    `${part} is set and ${name} is ${provider}; leave it out, or set ${name} to ${other}`
  return [...missing, ...foreign.map(say)]
}

/** In place of the text of a file that cannot be read. */
const unreadable = Symbol('unreadable')

/**
 * The text of a variable, from the environment or from the file that NAME_FILE names, without that file's trailing newline;
 * undefined where it is not set.
 */
function readText(name: string, environment: Environment, problems: string[]): string | typeof unreadable | undefined {
  const text = environment[name] || undefined
  // KEK_FILE names a file of its own accord; there is no KEK_FILE_FILE.
  const path = name.endsWith('_FILE') ? undefined : environment[`${name}_FILE`]
  if (!path) return text
  if (text !== undefined) problems.push(`${name} and ${name}_FILE are both set; keep one`)
  try {
    const content = readFileSync(path, 'utf8').replace(/\r?\n$/, '')
    return text ?? (content || undefined)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    problems.push(`${name}_FILE cannot be read (${code})`)
    return text ?? unreadable
  }
}

/** A whole number in decimal digits becomes a number; 0x10, 1e3 and anything else stays the text that it is. */
function parse({ schema }: Variable, text: string): string | number {
  return Type.IsInteger(schema) && /^-?[0-9]{1,15}$/.test(text) ? Number(text) : text
}

function findProblem({ schema, check }: Variable, text: string | undefined, value: unknown): string | undefined {
  if (value === undefined) return 'is not set'
  const [error] = Value.Errors(schema, value)
  if (error === undefined) return text === undefined ? undefined : check?.(text)
  const allowed = error.keyword === 'enum' ? `: ${error.params.allowedValues.join(', ')}` : ''
  return `${error.message}${allowed}`
}

function describeProblem(name: string, problem: string, { description }: Variable): string {
  return `${name} ${problem} (${description})`
}

function listProblems(problems: readonly string[]): string {
  return problems.length === 1 ? problems[0]! : [`${problems.length} problems:`, ...problems].join('\n  ')
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}
