import { TokenvaultError } from '../../errors.ts'
import { parseStrictJson } from '../json/strict-json.ts'

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
