import { DatabaseError } from 'pg'

/**
 * Whose fault a failure is, which decides what follows:
 *
 * - `data`: a message or a request itself. Alone, it fails again; it may spend its receive count.
 * - `conflict`: another transaction. Everything was rolled back, so the same may be done again at once.
 * - `environment`: the server for now. Trying later mends it.
 * - `session`: as environment, and this connection is of no use to anyone any more.
 * - `server`: as session, and every connection that was made before is of no use either.
 * - `permanent`: the schema, the grants, the login or TLS. Only an operator mends it.
 */
export type FailureKind = 'data' | 'conflict' | 'environment' | 'session' | 'server' | 'permanent'

export interface Failure {
  readonly kind: FailureKind
  /** The SQLSTATE or the name of a network error. A driver's message is never repeated: it may hold parameters. */
  readonly label: string
  /** What is wrong, in words of ours; absent where only the label is known. */
  readonly says?: string
}

type Row = readonly [codes: string, kind: FailureKind, says?: string]

const foreign = 'a trigger, rule or function of the database failed that is not as `tokenvault migrate` installs it'
const noWrites = 'the server takes no writes: it is a standby, or default_transaction_read_only is set'
const untrusted =
  'the certificate of the server is from an authority that is not trusted; name it with sslrootcert or NODE_EXTRA_CA_CERTS'

/** Every class of SQLSTATE (PostgreSQL, Appendix A) by its two characters; a code of five overrides its class. */
const sqlStates = index([
  ['00 01 02 03', 'session', 'the server answered something that is not an answer to the statement'],
  ['08', 'session', 'the connection failed'],
  ['08P01', 'session', 'the server or its pooler refused what was sent; pgbouncer needs ignore_startup_parameters'],
  ['09 0F 0Z 10 20 21 24 27 2F 34 38 39 P0', 'permanent', foreign],
  ['0A', 'permanent', 'the server does not support the statement'],
  ['0B 25 26 2D 3B', 'session', 'the session was in a state that no statement should find'],
  ['25006', 'server', noWrites],
  ['25P03 25P04', 'session', 'a transaction stayed open for too long'],
  ['0L 0P 2B', 'permanent', 'a role or a grant is not as `tokenvault migrate` leaves it'],
  ['2BP01', 'permanent', 'views or tables of others, such as analysts, depend on what is to be changed'],
  ['22 23 44 54', 'data'],
  ['28', 'permanent', 'the server does not let the role in: name, password or pg_hba.conf is wrong'],
  ['3D', 'permanent', 'the database does not exist'],
  ['3F', 'permanent', 'a schema is missing'],
  ['40', 'conflict', 'another transaction was in the way'],
  ['40002', 'data'],
  ['40003', 'session', 'the outcome of a statement is not known'],
  ['42', 'permanent', 'the schema is not the one that `tokenvault migrate` of this release makes'],
  ['42501', 'permanent', 'a grant is missing, or an owner was changed'],
  ['42703', 'permanent', 'a column is missing'],
  ['42704', 'permanent', 'a type, a role or another object is missing'],
  ['42883', 'permanent', 'a function is missing, or takes other arguments'],
  ['42P01', 'permanent', 'a table or view is missing'],
  ['53', 'environment', 'the server lacks a resource'],
  ['53100', 'environment', 'the disk of the server is full'],
  ['53200', 'environment', 'the server is out of memory'],
  ['53300', 'environment', 'the server, the database or the role has no connection left'],
  ['53400', 'environment', 'a configured limit of the server was reached'],
  ['55', 'environment', 'an object is in use, or not in the state that the statement needs'],
  ['55TV1', 'environment', 'a key is not in use any more, and the process has yet to take that up'],
  ['55P02', 'permanent', 'the server does not allow a setting that the session needs'],
  ['55P03', 'environment', 'a lock was not granted in time'],
  ['57', 'server', 'an operator or the server ended the session'],
  ['57014', 'environment', 'the statement took too long, or an operator cancelled it'],
  ['57P03', 'server', 'the server is starting, stopping or recovering'],
  ['57P04', 'server', 'the database was dropped'],
  ['57P05', 'session', 'the session idled for too long'],
  ['58', 'environment', 'the operating system of the server failed'],
  ['72', 'environment', 'the snapshot is too old'],
  ['F0', 'environment', 'the configuration of the server cannot be read'],
  ['HV', 'environment', 'a foreign server failed'],
  ['XX', 'session', 'the server failed internally'],
  ['XX001 XX002', 'session', 'the server found damaged data or a damaged index'],
])

/** Names that Node gives to failures of the network and of TLS. Others of the network are `session` without a word. */
const networkErrors = index([
  ['ECONNREFUSED', 'session', 'nothing accepts connections at the host and port'],
  ['ENOTFOUND EAI_AGAIN', 'session', 'the host name cannot be resolved'],
  ['ETIMEDOUT EHOSTUNREACH ENETUNREACH', 'session', 'the host cannot be reached'],
  ['SELF_SIGNED_CERT_IN_CHAIN DEPTH_ZERO_SELF_SIGNED_CERT UNABLE_TO_GET_ISSUER_CERT', 'permanent', untrusted],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'permanent', untrusted],
  ['CERT_UNTRUSTED INVALID_CA', 'permanent', untrusted],
  [
    'ERR_TLS_CERT_ALTNAME_INVALID HOSTNAME_MISMATCH',
    'permanent',
    'the certificate of the server is for another host name',
  ],
  ['CERT_HAS_EXPIRED', 'permanent', 'the certificate of the server has expired'],
  ['CERT_NOT_YET_VALID', 'permanent', 'the certificate of the server is not valid yet, or the clock here is slow'],
  ['CERT_REVOKED CERT_REJECTED', 'permanent', 'the certificate of the server was revoked or rejected'],
  ['EPROTO', 'permanent', 'the TLS handshake failed'],
])

/** What pg says without a code, in texts of its own that hold no value. */
const driverTexts: readonly (readonly [text: RegExp, failure: Failure])[] = [
  [
    /^The server does not support SSL connections$/,
    { kind: 'permanent', label: 'no TLS', says: 'the server does not offer TLS, which sslmode asks for' },
  ],
  [
    /^There was an error establishing an SSL connection$/,
    { kind: 'permanent', label: 'no TLS', says: 'the server did not answer the request for TLS' },
  ],
  [
    /client password must be a (non-empty )?string$/,
    { kind: 'permanent', label: 'no password', says: 'the server asks for a password, and DATABASE_URL holds none' },
  ],
]

/** Connecting failed at each host that was tried. */
export class NoHostServes extends Error {
  readonly failures: readonly { readonly host: string; readonly failure: Failure }[]

  constructor(failures: NoHostServes['failures']) {
    super('no host serves')
    this.failures = failures
  }
}

/** Names what a statement, or connecting for it, failed with. */
export function classifyFailure(error: unknown): Failure {
  if (!(error instanceof Error)) return lost
  if (error instanceof NoHostServes) return ofHosts(error)
  if (error instanceof DatabaseError) return ofSqlState(error.code ?? '', error.routine)
  const code = 'code' in error ? String(error.code) : ''
  // A file that the URL names, such as sslrootcert; a socket is connected to and not opened.
  if ('syscall' in error && error.syscall === 'open')
    return {
      kind: 'permanent',
      label: code,
      says: 'a file that DATABASE_URL names, such as sslrootcert, cannot be read',
    }
  const known = networkErrors.get(code)
  if (known !== undefined) return { ...known, label: code }
  if (/^ERR_(TLS|SSL)_/.test(code)) return { kind: 'permanent', label: code, says: 'the TLS handshake failed' }
  if (/^[A-Z][A-Z0-9_]+$/.test(code)) return { kind: 'session', label: code }
  return driverTexts.find(([text]) => text.test(error.message))?.[1] ?? lost
}

/** Whether the connection may serve nobody any more. */
export function endsSession({ kind }: Failure): boolean {
  return kind === 'session' || kind === 'server'
}

/** Whether a server refused the login or has no such database, as every other server of the same cluster would. */
export function refusesLogin({ label }: Failure): boolean {
  return /^SQLSTATE (28|3D)/.test(label)
}

const lost: Failure = { kind: 'session', label: 'connection lost' }

/** Time mends it unless it mends no host, or what one refused the others would refuse, too. */
function ofHosts({ failures }: NoHostServes): Failure {
  const isPermanent =
    failures.every(({ failure }) => failure.kind === 'permanent') ||
    failures.some(({ failure }) => refusesLogin(failure))
  const told = failures.map(({ host, failure: { says, label } }) => {
    return `${host}: ${says === undefined ? label : `${says} (${label})`}`
  })
  return { kind: isPermanent ? 'permanent' : 'session', label: 'no host serves', says: told.join('; ') }
}

function ofSqlState(sqlState: string, routine: string | undefined): Failure {
  const label = `SQLSTATE ${sqlState}`
  // "cached plan must not change result type": the routine says so in every language, and a new session has no plan.
  if (sqlState === '0A000' && routine === 'RevalidateCachedQuery')
    return { kind: 'session', label, says: 'the schema was changed while the session was open' }
  const known = sqlStates.get(sqlState) ?? sqlStates.get(sqlState.slice(0, 2))
  // Classes that other servers and pools make up.
  return known === undefined ? { kind: 'session', label } : { ...known, label }
}

function index(rows: readonly Row[]): ReadonlyMap<string, Omit<Failure, 'label'>> {
  return new Map(
    rows.flatMap(([codes, kind, says]) =>
      codes.split(' ').map(code => [code, says === undefined ? { kind } : { kind, says }] as const),
    ),
  )
}
