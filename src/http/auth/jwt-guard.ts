import { hash } from 'node:crypto'
import { TokenvaultError } from '../../errors.ts'
import { parseStrictJson } from '../strict-json.ts'

/** The JOSE header of a JWT that passed the guard. */
export interface GuardedHeader {
  readonly alg: string
  readonly kid: string
}

const maxJwtLength = 8192
const maxDepth = 8
const credentials = /^bearer ([\w-]+\.[\w-]+\.[\w-]+)$/i
const headerNames: ReadonlySet<string> = new Set(['alg', 'kid', 'typ'])
const acceptedTypes: ReadonlySet<string> = new Set(['jwt', 'at+jwt'])
// A byte-order mark is kept, so that JSON.parse refuses it.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Refuses everything about an access token that JWT libraries are known to read leniently, before any of them sees
 * it. It checks form only; signature and claims come after it.
 *
 * Accepted: one Authorization header, `Bearer` in any case, one space, a compact JWS (RFC 7515 section 7.1) of at
 * most 8,192 characters whose three segments are canonical base64url, header and payload UTF-8 JSON objects at most
 * 8 levels deep without repeated names, the header holding `alg` of the allow-list, `kid`, perhaps `typ`, and
 * nothing else, so that `crit`, `jku`, `jwk`, `x5u`, `x5c`, `b64` and `zip` are all refused.
 *
 * @param rawHeaders names and values in turn, as `IncomingMessage.rawHeaders`: only there do repeats show
 * @param algorithms accepted `alg` values, asymmetric ones only
 * @returns the JOSE header
 * @throws TokenvaultError `unauthenticated`; its message is for our log, not for the caller
 */
export function guardJwt(rawHeaders: readonly string[], algorithms: ReadonlySet<string>): GuardedHeader {
  const jwt = readBearer(rawHeaders)
  // readBearer matched exactly three segments.
  const [header, payload, signature] = jwt.split('.') as [string, string, string]
  decode(signature)
  readObject(payload)
  return checkHeader(readObject(header), algorithms)
}

/**
 * @param rawHeaders names and values in turn, as `IncomingMessage.rawHeaders`
 * @returns the one access token, of three segments and not yet decoded
 * @throws TokenvaultError `unauthenticated`
 */
export function readBearer(rawHeaders: readonly string[]): string {
  const values = rawHeaders.filter(
    (_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'authorization',
  )
  const [value] = values
  if (value === undefined) throw refuse('no Authorization header')
  if (values.length > 1) throw refuse('more than one Authorization header')
  if (value.length > maxJwtLength + 'Bearer '.length) throw refuse('access token too long')
  const jwt = credentials.exec(value)?.[1]
  if (jwt === undefined) throw refuse('Authorization is not Bearer and a compact JWS')
  return jwt
}

function checkHeader(header: Record<string, unknown>, algorithms: ReadonlySet<string>): GuardedHeader {
  const { alg, kid, typ } = header
  if (!Object.keys(header).every(name => headerNames.has(name))) throw refuse('header parameter not on the allow-list')
  if (typeof alg !== 'string' || !algorithms.has(alg)) throw refuse('alg not on the allow-list')
  if (typeof kid !== 'string' || !/^[\x21-\x7e]{1,256}$/.test(kid))
    throw refuse('kid missing or not short printable text')
  // RFC 7519 section 5.1 compares typ without case; RFC 9068 section 2.1 adds at+jwt.
  const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : typ
  if (type !== undefined && !(typeof type === 'string' && acceptedTypes.has(type)))
    throw refuse('typ is not JWT or at+jwt')
  return { alg, kid }
}

function readObject(segment: string): Record<string, unknown> {
  const bytes = decode(segment)
  let value: unknown
  try {
    value = parseStrictJson(utf8.decode(bytes), maxDepth)
  } catch {
    throw refuse('segment is not strict JSON in UTF-8')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refuse('segment is not a JSON object')
  return value as Record<string, unknown>
}

/** Unused trailing bits that are not zero would give one signature several spellings (RFC 4648 section 3.5). */
function decode(segment: string): Buffer {
  const bytes = Buffer.from(segment, 'base64url')
  if (bytes.toString('base64url') !== segment) throw refuse('segment is not canonical base64url')
  return bytes
}

function refuse(reason: string): TokenvaultError {
  return new TokenvaultError('unauthenticated', reason)
}

/** What a signature was found to vouch for, and under which key. */
export interface VerifiedJwt {
  readonly alg: string
  readonly kid: string
  /** SPKI PEM of the key that checked it. */
  readonly pem: string
  readonly claims: Readonly<Record<string, unknown>>
}

/** Each may be 8 KB long before it is parsed; what is kept of it is a fraction more. */
const maxKept = 1000

/**
 * Access tokens whose form and signature were checked before. A caller sends the same one many times, and checking its
 * signature costs more than all the rest of a request.
 *
 * Only what depends on nothing but the token's bytes and the key is remembered: whoever takes something from here still
 * has to ask whether the issuer publishes that key, and to check every time claim. Tokens are kept as SHA-256, so that
 * a dump of the memory gives no credentials. Only accepted ones get in, and the oldest goes first.
 */
export class VerifiedJwts {
  readonly #kept = new Map<string, VerifiedJwt>()

  get(jwt: string): VerifiedJwt | undefined {
    return this.#kept.get(hash('sha256', jwt, 'base64'))
  }

  add(jwt: string, verified: VerifiedJwt): void {
    this.#kept.set(hash('sha256', jwt, 'base64'), verified)
    if (this.#kept.size > maxKept) this.#kept.delete(this.#kept.keys().next().value!)
  }
}
