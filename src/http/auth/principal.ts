import type { Principal } from '../../vault/admission/ports.ts'
import { JwtRefused, type RefusalReason } from './jwt-guard.ts'

/** What the claims of an access token have to say. */
export interface ClaimRules {
  /** The `iss` of its tokens. */
  readonly issuer: string
  /** Accepted `aud` values; a token needs one of them. */
  readonly audiences: readonly string[]
  /** Accepted `client_id` values of access tokens without `aud`, as Amazon Cognito issues them; usually none. */
  readonly clientIds: readonly string[]
  /** Longest `exp` − `iat`. */
  readonly maxLifetimeSeconds: number
  /** Seconds by which the issuer's clock and ours may differ. */
  readonly clockToleranceSeconds: number
  /** Whether subjects that differ only in case are two people (`exact`) or one (`ignore`). */
  readonly subjectCase: 'exact' | 'ignore'
  /** The claim that says who the caller is, `sub` unless given. */
  readonly subjectClaim?: string | undefined
  /** Claims that carry roles, in place of those of the policy. */
  readonly rolesClaims?: readonly string[] | undefined
  /** The only roles that the issuer may give; all that the policy knows unless given. */
  readonly roles?: readonly string[] | undefined
  /** The issuer whose principals these are: equal subjects are one principal then. Its own unless given. */
  readonly knownAs?: string | undefined
}

/** What is asked of the policy about roles. */
export interface KnownRoles {
  /** Claims that carry roles, by name or path; all that are present add up. */
  readonly rolesClaims: readonly string[]
  /** The roles that the policy permits something; it knows no others. */
  readonly roles: { has(name: string): boolean }
}

/** Claims whose text is a list of words between spaces: RFC 8693 section 4.2, and Entra's name for the same. */
const wordClaims: ReadonlySet<string> = new Set(['scope', 'scp'])

/**
 * Makes the principal from claims whose signature was checked. Every claim is looked at each time, also those of a
 * remembered token: what is true of them changes with the clock and the policy.
 *
 * Client, actor and the JWT's id permit nothing: such a claim is passed over where it is not of the expected form.
 *
 * @param claims the JWT's payload
 * @param nowSeconds seconds since 1970
 * @returns a frozen principal; a JWT without roles that the policy knows gives one that may do nothing
 * @throws JwtRefused
 */
export function readPrincipal(
  claims: Readonly<Record<string, unknown>>,
  rules: ClaimRules,
  nowSeconds: number,
  policy: KnownRoles,
): Principal {
  const { iss } = claims
  if (typeof iss !== 'string') throw refuse('iss', missingOr('malformed', iss))
  if (iss !== rules.issuer) throw refuse('iss', 'mismatch')
  checkAudience(claims, rules)
  checkTimes(claims, rules, nowSeconds)
  const subject = readSubject(claims, rules)
  const roles = readClaimRoles(claims, { rolesClaims: rules.rolesClaims ?? policy.rolesClaims, roles: policy.roles })
  const given = rules.roles === undefined ? roles : Object.freeze(roles.filter(role => rules.roles!.includes(role)))
  return Object.freeze({
    ...{ issuer: rules.knownAs ?? iss, subject, roles: given, channel: 'http' },
    ...readClient(claims),
    ...readActor(claims, rules),
    ...readJwtId(claims),
  })
}

function checkAudience(
  { aud, token_use: use, client_id: client }: Readonly<Record<string, unknown>>,
  { audiences, clientIds }: ClaimRules,
): void {
  if (aud === undefined && clientIds.length > 0) {
    // Cognito's ID tokens differ in token_use alone.
    if (use !== 'access') throw refuse('token_use', missingOr('mismatch', use))
    if (typeof client !== 'string') throw refuse('client_id', missingOr('malformed', client))
    if (!clientIds.includes(client)) throw refuse('client_id', 'mismatch')
    return
  }
  const named: unknown[] = Array.isArray(aud) ? aud : [aud]
  const texts = named.filter(name => typeof name === 'string')
  if (texts.length < named.length) throw refuse('aud', missingOr('malformed', aud))
  if (!texts.some(name => audiences.includes(name))) throw refuse('aud', 'mismatch')
}

function checkTimes(
  claims: Readonly<Record<string, unknown>>,
  { maxLifetimeSeconds, clockToleranceSeconds }: ClaimRules,
  nowSeconds: number,
): void {
  const exp = readTime(claims, 'exp')
  const iat = readTime(claims, 'iat')
  const nbf = claims['nbf'] === undefined ? 0 : readTime(claims, 'nbf')
  if (exp + clockToleranceSeconds <= nowSeconds) throw refuse('exp', 'expired')
  if (nbf > nowSeconds + clockToleranceSeconds) throw refuse('nbf', 'in_future')
  if (iat > nowSeconds + clockToleranceSeconds) throw refuse('iat', 'in_future')
  if (exp <= iat) throw refuse('exp', 'before_iat')
  if (exp - iat > maxLifetimeSeconds) throw refuse('exp', 'lifetime_over_JWT_MAX_LIFETIME_SECONDS')
}

/** Seconds since 1970, with a fraction where the issuer gives one (RFC 7519 section 2, NumericDate). */
function readTime(claims: Readonly<Record<string, unknown>>, claim: 'exp' | 'iat' | 'nbf'): number {
  const value = claims[claim]
  if (typeof value !== 'number' || value < 0 || value > Number.MAX_SAFE_INTEGER)
    throw refuse(claim, missingOr('malformed', value))
  return value
}

function readSubject(
  claims: Readonly<Record<string, unknown>>,
  { subjectClaim = 'sub', subjectCase }: ClaimRules,
): string {
  const sub = Object.hasOwn(claims, subjectClaim) ? claims[subjectClaim] : undefined
  const subject = spellSubject(sub, subjectCase)
  if (subject === undefined) throw refuse(subjectClaim, missingOr('malformed', sub))
  return subject
}

/**
 * One spelling of subjects that people read alike, because two people are told apart by it: without white space around
 * it, one space between words, composed (NFC), and nothing that shows nothing.
 *
 * @returns 1 to 256 characters; undefined where that cannot be
 */
function spellSubject(sub: unknown, subjectCase: ClaimRules['subjectCase']): string | undefined {
  if (typeof sub !== 'string' || !isPlain(sub) || /\p{Default_Ignorable_Code_Point}/u.test(sub)) return undefined
  // By upper case, ß and ſ and the two small sigmas become what they are read as; ẞ has to be small before.
  const cased = subjectCase === 'ignore' ? sub.toLowerCase().toUpperCase().toLowerCase() : sub
  const subject = cased
    .replace(/\p{Zs}+/gu, ' ')
    .trim()
    .normalize('NFC')
  return subject.length === 0 || subject.length > maxNameLength ? undefined : subject
}

/** The application: `azp` as OpenID Connect has it, else `client_id` as RFC 9068 and RFC 8693 have it. */
function readClient({ azp, client_id: id }: Readonly<Record<string, unknown>>): Pick<Principal, 'client'> {
  const client = [azp, id].find(isName)
  return client === undefined ? {} : { client }
}

/**
 * The outermost actor: those nested in it acted before, and have no part in this call (RFC 8693 section 4.1). Without the
 * issuer that it names it would be taken for somebody else, so then it is passed over as a whole.
 */
function readActor({ act }: Readonly<Record<string, unknown>>, { subjectCase }: ClaimRules): Pick<Principal, 'actor'> {
  if (!isObject(act)) return {}
  const [sub, issuer] = ['sub', 'iss'].map(name => (Object.hasOwn(act, name) ? act[name] : undefined))
  const subject = spellSubject(sub, subjectCase)
  if (subject === undefined || !(issuer === undefined || isName(issuer))) return {}
  return { actor: Object.freeze(issuer === undefined ? { subject } : { issuer, subject }) }
}

function readJwtId({ jti }: Readonly<Record<string, unknown>>): Pick<Principal, 'jwtId'> {
  return typeof jti === 'string' && jti !== '' && jti.isWellFormed() ? { jwtId: jti } : {}
}

/** Most characters of a subject, a client or an issuer of an actor. */
const maxNameLength = 256

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= maxNameLength && isPlain(value)
}

/**
 * The roles of an access token that the policy knows. Whatever else stands in these claims concerns others and is
 * passed over: it neither gives a role nor refuses the caller.
 *
 * A path names a claim; where the token has none of exactly that name, its parts between dots lead through objects, as
 * `realm_access.roles` does. What the claim is decides how it is read:
 * - a list: each text in it is one role;
 * - a text: one role as a whole, except that of `scope` and `scp`, whose words between spaces are one role each;
 * - an object: each name whose value is an object of texts is one role. So Zitadel has it, with the organizations that
 *   grant the role; `{"investigator": false}` must not be taken for one;
 * - anything else, such as null: none.
 *
 * @param claims the JWT's payload
 * @returns different roles in order, frozen
 */
export function readClaimRoles(
  claims: Readonly<Record<string, unknown>>,
  { rolesClaims, roles }: KnownRoles,
): readonly string[] {
  const named = rolesClaims.flatMap(path => readRoles(findClaim(claims, path), wordClaims.has(path)))
  return Object.freeze([...new Set(named)].filter(name => roles.has(name)))
}

/** Own properties only, and of plain objects only: no path leads into a prototype, a list or a text. */
function findClaim(claims: Readonly<Record<string, unknown>>, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path]
  let value: unknown = claims
  for (const part of path.split('.')) {
    if (!isObject(value) || !Object.hasOwn(value, part)) return undefined
    value = value[part]
  }
  return value
}

function readRoles(claim: unknown, hasWords: boolean): string[] {
  if (typeof claim === 'string') return hasWords ? claim.split(' ') : [claim]
  if (Array.isArray(claim)) return claim.filter(role => typeof role === 'string')
  if (!isObject(claim)) return []
  return Object.keys(claim).filter(name => isGrant(claim[name]))
}

function isGrant(value: unknown): boolean {
  if (!isObject(value)) return false
  const grantors = Object.values(value)
  return grantors.length > 0 && grantors.every(grantor => typeof grantor === 'string')
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Text that is safe to write into evidence and logs: no control, format or line separating characters, no half pairs. */
export function isPlain(text: string): boolean {
  return !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(text)
}

function missingOr(reason: RefusalReason, value: unknown): RefusalReason {
  return value === undefined ? 'missing' : reason
}

function refuse(claim: string, reason: RefusalReason): JwtRefused {
  return new JwtRefused(reason, { claim })
}
