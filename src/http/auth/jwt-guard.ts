import { hash } from 'node:crypto'
import { TokenvaultError } from '../../errors.ts'
import { parseStrictJson } from '../strict-json.ts'

/** The JOSE header of a JWT that passed the guard. */
export interface GuardedHeader {
  readonly alg: string
  /** Absent where the token does not say which key signed it. */
  readonly kid: string | undefined
}

/** Every way in which an access token is refused; docs/production.md says what each means. */
export const refusalReasons = [
  ...['authorization_missing', 'authorization_repeated', 'authorization_malformed', 'jwt_too_long'],
  ...['header_malformed', 'payload_malformed', 'signature_malformed', 'signature_invalid'],
  ...['missing', 'malformed', 'mismatch', 'not_accepted', 'unknown', 'ambiguous', 'key_too_weak', 'key_unusable'],
  ...['expired', 'in_future', 'before_iat', 'lifetime_over_JWT_MAX_LIFETIME_SECONDS'],
] as const

export type RefusalReason = (typeof refusalReasons)[number]

/**
 * An access token was refused. The caller learns no more than that; our log has the reason and, by a name that is
 * ours, the claim or the header parameter concerned, never its value.
 */
export class JwtRefused extends TokenvaultError {
  readonly place: { readonly claim?: string; readonly parameter?: string }

  constructor(reason: RefusalReason, place: JwtRefused['place'] = {}, options?: { cause?: unknown }) {
    super('unauthenticated', reason, options)
    this.place = place
  }
}

/** Tokens of people in 150 groups are that long. */
const maxJwtLength = 16_384
const maxDepth = 8
const credentials = /^bearer ([\w-]+\.[\w-]+\.[\w-]+)$/i
/** What would choose the key, or give the token another meaning than the one that is checked. */
const steeringParameters = ['crit', 'jku', 'jwk', 'x5u', 'x5c', 'b64', 'zip'] as const
const acceptedTypes: ReadonlySet<string> = new Set(['jwt', 'at+jwt'])
// A byte-order mark is kept, so that JSON.parse refuses it.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** What the JOSE header has to say. */
export interface HeaderRules {
  /** Accepted `alg` values, asymmetric ones only. */
  readonly algorithms: ReadonlySet<string>
  /** `at+jwt`: only tokens that say they are access tokens (RFC 9068 section 4). `any`: also `JWT`, and no `typ`. */
  readonly typ: 'any' | 'at+jwt'
}

/**
 * Refuses everything about an access token that JWT libraries are known to read leniently, before any of them sees
 * it. It checks form only; signature and claims come after it.
 *
 * Accepted: one Authorization header, `Bearer` in any case, one space, a compact JWS (RFC 7515 section 7.1) of at
 * most 16,384 characters whose three segments are canonical base64url, header and payload UTF-8 JSON objects at most
 * 8 levels deep without repeated names, the header holding `alg` of the allow-list, perhaps `kid` and `typ`, and none of
 * the parameters that steer the key or the meaning. Others, such as the `x5t` of Entra, are not read, as RFC 7515
 * section 4 demands of what is not understood.
 *
 * @param rawHeaders names and values in turn, as `IncomingMessage.rawHeaders`: only there do repeats show
 * @param rulesFor chooses the rules by claims that nobody has verified yet, or throws JwtRefused
 * @returns the JOSE header, and the rules that it obeys
 * @throws JwtRefused
 */
export function guardJwt<Rules extends HeaderRules>(
  rawHeaders: readonly string[],
  rulesFor: (claims: Readonly<Record<string, unknown>>) => Rules,
): GuardedHeader & { readonly rules: Rules } {
  const jwt = readBearer(rawHeaders)
  // readBearer matched exactly three segments.
  const [header, payload, signature] = jwt.split('.') as [string, string, string]
  decode(signature, 'signature_malformed')
  const claims = readObject(payload, 'payload_malformed')
  const checked = readObject(header, 'header_malformed')
  const rules = rulesFor(claims)
  return { ...checkHeader(checked, rules), rules }
}

/**
 * @param rawHeaders names and values in turn, as `IncomingMessage.rawHeaders`
 * @returns the one access token, of three segments and not yet decoded
 * @throws JwtRefused
 */
export function readBearer(rawHeaders: readonly string[]): string {
  const values = rawHeaders.filter(
    (_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'authorization',
  )
  const [value] = values
  if (value === undefined) throw new JwtRefused('authorization_missing')
  if (values.length > 1) throw new JwtRefused('authorization_repeated')
  if (value.length > maxJwtLength + 'Bearer '.length) throw new JwtRefused('jwt_too_long')
  const jwt = credentials.exec(value)?.[1]
  if (jwt === undefined) throw new JwtRefused('authorization_malformed')
  return jwt
}

function checkHeader(header: Record<string, unknown>, { algorithms, typ: required }: HeaderRules): GuardedHeader {
  const steering = steeringParameters.find(parameter => Object.hasOwn(header, parameter))
  if (steering !== undefined) throw refuse(steering, 'not_accepted')
  const { alg, kid, typ } = header
  if (alg === undefined) throw refuse('alg', 'missing')
  if (typeof alg !== 'string' || !algorithms.has(alg)) throw refuse('alg', 'not_accepted')
  if (kid !== undefined && (typeof kid !== 'string' || !/^[\x21-\x7e]{1,256}$/.test(kid)))
    throw refuse('kid', 'malformed')
  if (typ === undefined && required !== 'any') throw refuse('typ', 'missing')
  // RFC 7519 section 5.1 compares typ without case; RFC 9068 section 2.1 adds at+jwt.
  const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : ''
  const accepted = required === 'any' ? acceptedTypes.has(type) : type === required
  if (typ !== undefined && !accepted) throw refuse('typ', 'not_accepted')
  return { alg, kid }
}

function readObject(segment: string, reason: RefusalReason): Record<string, unknown> {
  const bytes = decode(segment, reason)
  let value: unknown
  try {
    value = parseStrictJson(utf8.decode(bytes), maxDepth)
  } catch {
    throw new JwtRefused(reason)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new JwtRefused(reason)
  return value as Record<string, unknown>
}

/** Unused trailing bits that are not zero would give one signature several spellings (RFC 4648 section 3.5). */
function decode(segment: string, reason: RefusalReason): Buffer {
  const bytes = Buffer.from(segment, 'base64url')
  if (bytes.toString('base64url') !== segment) throw new JwtRefused(reason)
  return bytes
}

function refuse(parameter: string, reason: RefusalReason): JwtRefused {
  return new JwtRefused(reason, { parameter })
}

/** Claims whose signature was verified, and the key that verified it. */
export interface VerifiedJwt<Issuer> {
  /** Whose key that is. */
  readonly issuer: Issuer
  readonly alg: string
  readonly kid: string | undefined
  /** SPKI PEM of the key that checked it. */
  readonly pem: string
  readonly claims: Readonly<Record<string, unknown>>
}

/** Each may be 16 KB long before it is parsed; what is kept of it is a fraction more. */
const maxKept = 1000

/**
 * Access tokens whose form and signature were checked before. A caller sends the same one many times, and checking its
 * signature costs more than all the rest of a request.
 *
 * Only what depends on nothing but the token's bytes and the key is remembered: whoever takes something from here still
 * has to ask whether the issuer publishes that key, and to check every time claim. Tokens are kept as SHA-256, so that
 * a dump of the memory gives no credentials. Only accepted ones get in, and the oldest goes first.
 */
export class VerifiedJwts<Issuer> {
  readonly #kept = new Map<string, VerifiedJwt<Issuer>>()

  get(jwt: string): VerifiedJwt<Issuer> | undefined {
    return this.#kept.get(hash('sha256', jwt, 'base64'))
  }

  add(jwt: string, verified: VerifiedJwt<Issuer>): void {
    this.#kept.set(hash('sha256', jwt, 'base64'), verified)
    if (this.#kept.size > maxKept) this.#kept.delete(this.#kept.keys().next().value!)
  }
}
