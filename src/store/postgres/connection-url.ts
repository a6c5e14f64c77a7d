import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import type { ClientConfig } from 'pg'
import { TokenvaultError } from '../../errors.ts'

/** What a session is wanted for (libpq, 34.1.1.3 and target_session_attrs). */
const sessionAttributes = ['any', 'read-write', 'read-only', 'primary', 'standby', 'prefer-standby'] as const
export type SessionAttributes = (typeof sessionAttributes)[number]

export interface Host {
  /** Name, address, or the directory of a socket; undefined for the default of pg. */
  readonly host: string | undefined
  readonly port: number | undefined
}

/** A connection URL as libpq reads it, hosts in the order in which they are tried. */
export interface ConnectionUrl {
  readonly hosts: readonly Host[]
  readonly user: string | undefined
  readonly password: string | undefined
  readonly database: string | undefined
  readonly targetSessionAttrs: SessionAttributes
  readonly isBalanced: boolean
  /** How long one host may take. */
  readonly connectTimeoutMilliseconds: number
  readonly parameters: ReadonlyMap<string, string>
}

const words = (...allowed: string[]) => new RegExp(`^(${allowed.join('|')})$`)
const anything = /^/
/** Where one host answers in time, the next is not waited for in vain. */
const connectSeconds = { one: 5, each: 2 }

/** Every parameter that is taken, with what it may be; any other would be passed over in silence. */
const parameterTexts: ReadonlyMap<string, RegExp> = new Map([
  ['host', anything],
  ['port', /^\d{0,5}(,\d{0,5})*$/],
  ['user', anything],
  ['password', anything],
  ['target_session_attrs', words(...sessionAttributes)],
  ['load_balance_hosts', words('disable', 'random')],
  ['connect_timeout', /^[1-9]\d{0,2}$/],
  ['sslmode', words('disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify')],
  ['ssl', words('true', 'false', '1', '0', 'no-verify')],
  ['sslrootcert', anything],
  ['sslcert', anything],
  ['sslkey', anything],
  ['sslnegotiation', words('postgres', 'direct')],
  ['uselibpqcompat', words('true', 'false')],
  // No promise is made that the binding was checked, so `require` is refused.
  ['channel_binding', words('disable', 'prefer')],
  ['gssencmode', words('disable', 'prefer')],
  ['application_name', anything],
  ['fallback_application_name', anything],
  ['client_encoding', words('utf8', 'UTF8', 'utf-8', 'UTF-8', 'auto')],
  ['options', anything],
])

/**
 * Reads a `postgresql://` URL, several hosts and an own port for each included.
 *
 * @throws TokenvaultError `config_invalid`, which repeats nothing of the URL but names of parameters
 */
export function parseConnectionUrl(text: string): ConnectionUrl {
  // As URLs are read everywhere: line ends and tabs are no part of them.
  const parts = /^postgres(?:ql)?:\/\/(?:([^/?#]*)@)?([^/?#@]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(
    text.replace(/[\t\r\n]/g, ''),
  )
  const [, login = '', authority = '', path = '', query = ''] = parts ?? []
  // A password with one of these in it is cut in two, and its second half would be taken for something to be named.
  if (parts === null || /@/.test(path + query)) refuse('is not a URL, or holds / ? # or @ that is not percent-encoded')
  const parameters = readParameters(query)
  const [user = '', ...password] = login.split(':')
  const hosts = readHosts(authority, parameters)
  const seconds =
    Number(parameters.get('connect_timeout')) || (hosts.length === 1 ? connectSeconds.one : connectSeconds.each)
  return {
    hosts,
    user: parameters.get('user') || decode(user) || undefined,
    password: parameters.get('password') || decode(password.join(':')) || undefined,
    database: decode(path) || undefined,
    targetSessionAttrs: (parameters.get('target_session_attrs') ?? 'any') as SessionAttributes,
    isBalanced: parameters.get('load_balance_hosts') === 'random',
    connectTimeoutMilliseconds: seconds * 1000,
    parameters,
  }
}

/** How long it takes at most to find out that no host serves. */
export function longestConnectMilliseconds(url: ConnectionUrl): number {
  const { hosts, targetSessionAttrs, connectTimeoutMilliseconds } = url
  // prefer-standby asks every host twice; of several, each may be slow to say what it is, too.
  const rounds = hosts.length === 1 && targetSessionAttrs !== 'prefer-standby' ? 1 : 2
  return rounds * hosts.length * connectTimeoutMilliseconds
}

/** Whether both lead to one database: the login and how the line is secured may differ. */
export function isSameDatabase(one: ConnectionUrl, other: ConnectionUrl): boolean {
  const place = ({ hosts, database }: ConnectionUrl) => JSON.stringify([hosts.map(nameHost), database])
  return place(one) === place(other)
}

/** As people write it: `db1:5433`, `[::1]:5432`, `/run/postgresql`. */
export function nameHost({ host = 'localhost', port = 5432 }: Host): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/**
 * What pg needs to connect to one of the hosts. Certificates are read now: they are renewed as passwords are.
 *
 * @throws Error of the file system where a file that the URL names cannot be read
 */
export function clientConfig(url: ConnectionUrl, { host, port }: Host): ClientConfig {
  const { parameters } = url
  const given = {
    host,
    port,
    user: url.user,
    password: url.password,
    database: url.database,
    ssl: readTls(parameters),
    sslnegotiation: parameters.get('sslnegotiation') as 'postgres' | 'direct' | undefined,
    application_name: parameters.get('application_name'),
    fallback_application_name: parameters.get('fallback_application_name'),
    options: parameters.get('options'),
    connectionTimeoutMillis: url.connectTimeoutMilliseconds,
    enableChannelBinding: parameters.get('channel_binding') === 'prefer',
  }
  // What is not given is for pg to fill in, from PGUSER and the like.
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}

function readParameters(query: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(query)) {
    const allowed = parameterTexts.get(name)
    if (allowed === undefined) {
      const named = /^[a-z_]{1,40}$/.test(name) ? `the parameter ${name}` : 'a parameter'
      refuse(`has ${named}, which is not known; known are ${[...parameterTexts.keys()].join(', ')}`)
    }
    if (!allowed.test(value)) refuse(`has a value of ${name} that is not supported; docs/production.md says which are`)
    if (parameters.has(name)) refuse(`gives ${name} twice`)
    parameters.set(name, value)
  }
  return parameters
}

/** Hosts of the parameters go before those of the authority (libpq); one port is for all hosts. */
function readHosts(authority: string, parameters: ReadonlyMap<string, string>): readonly Host[] {
  const places = authority.split(',').map(place => /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(place))
  const listed = parameters.get('host')?.split(',')
  const hosts = listed ?? places.map(place => decode(place?.[1] ?? refuse('names a host that is not valid')))
  const ports =
    parameters.get('port')?.split(',') ?? (listed === undefined ? places.map(place => place?.[2] ?? '') : [''])
  if (ports.length !== 1 && ports.length !== hosts.length) refuse('has neither one port nor one for each host')
  return hosts.map((host, place) => {
    const port = Number((ports.length === 1 ? ports[0] : ports[place]) || Number.NaN)
    if (port < 1 || port > 65_535) refuse('has a port that is not from 1 to 65535')
    return { host: host.replace(/^\[(.*)\]$/, '$1') || undefined, port: Number.isNaN(port) ? undefined : port }
  })
}

/** `prefer` and `require` check certificates, too, unless libpq's weaker meaning is asked for. */
function readTls(parameters: ReadonlyMap<string, string>): boolean | ConnectionOptions | undefined {
  const mode = parameters.get('sslmode')
  const ssl = parameters.get('ssl')
  if (mode === 'disable' || (mode === undefined && (ssl === 'false' || ssl === '0'))) return false
  const files = { ca: parameters.get('sslrootcert'), cert: parameters.get('sslcert'), key: parameters.get('sslkey') }
  const options: ConnectionOptions = {}
  for (const [name, path] of Object.entries(files)) {
    if (path) options[name as keyof typeof files] = readFileSync(path, 'utf8')
  }
  if (mode === 'no-verify' || (mode === undefined && ssl === 'no-verify'))
    return { ...options, rejectUnauthorized: false }
  if (parameters.get('uselibpqcompat') === 'true') {
    const isChained = options.ca !== undefined && (mode === 'require' || mode === 'verify-ca')
    if (isChained) return { ...options, checkServerIdentity: () => undefined }
    if (mode === 'prefer' || mode === 'require') return { ...options, rejectUnauthorized: false }
  }
  const isAsked = mode !== undefined || ssl !== undefined || parameters.get('sslnegotiation') === 'direct'
  return isAsked || Object.keys(options).length > 0 ? options : undefined
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return refuse('holds a percent sign that is not followed by two hexadecimal digits')
  }
}

function refuse(problem: string): never {
  throw new TokenvaultError('config_invalid', `DATABASE_URL ${problem}`)
}
