import { TokenvaultError } from '../../errors.ts'
import type { Principal } from '../../vault/admission/ports.ts'

/** Seconds by which the issuer's clock and ours may differ. */
export const clockToleranceSeconds = 30

/** Most roles of one caller; all of them stand in every audit event. */
const maxRoles = 32
const maxRoleLength = 64
/** Longest claim that is a text of roles, such as `scope`. */
const maxTextLength = 4096

/**
 * Makes the principal from claims whose signature, `iss` and `aud` the library has checked, and checks what changes from
 * one request to the next or what the library does not: that times are whole seconds and this is one of them, that the
 * token does not live too long or come from the future, and that `sub` and the roles are safe to write into evidence.
 *
 * @param claims the JWT's payload
 * @param maxLifetimeSeconds longest `exp` − `iat` accepted
 * @param nowSeconds seconds since 1970
 * @param rolesClaims claims that carry roles, by name or path
 * @returns a frozen principal; a JWT without any of these gives one that may do nothing
 * @throws TokenvaultError `unauthenticated`; its message is for our log, not for the caller
 */
export function readPrincipal(
  claims: Readonly<Record<string, unknown>>,
  maxLifetimeSeconds: number,
  nowSeconds: number,
  rolesClaims: readonly string[] = ['roles'],
): Principal {
  const { iss, aud, sub, exp, iat, nbf } = claims
  if (!isTime(exp) || !isTime(iat) || !(nbf === undefined || isTime(nbf)))
    throw refuse('a time claim is not whole seconds')
  if (exp + clockToleranceSeconds <= nowSeconds) throw refuse('exp is past')
  if (nbf !== undefined && nbf > nowSeconds + clockToleranceSeconds) throw refuse('nbf is in the future')
  if (iat > nowSeconds + clockToleranceSeconds) throw refuse('iat is in the future')
  if (exp <= iat || exp - iat > maxLifetimeSeconds) throw refuse('lifetime is not within the limit')
  if (!isText(iss, 1024)) throw refuse('iss is not short text')
  if (!isText(sub, 256)) throw refuse('sub is not short text')
  if (!(typeof aud === 'string' || (Array.isArray(aud) && aud.length <= 32)))
    throw refuse('aud is not text or a short list')
  const roles = readClaimRoles(claims, rolesClaims)
  if (roles === undefined) throw refuse('roles are not a short list of short text')
  return Object.freeze({ issuer: iss, subject: sub, roles })
}

/**
 * The roles of an access token.
 *
 * A path names a claim; where the token has none of exactly that name, its parts between dots lead through objects, as
 * `realm_access.roles` does. A list of texts, or a text whose words stand between spaces (as RFC 8693, 4.2 has `scope`), gives
 * roles; of a text, words too long for a role are passed over. A claim that is absent gives none.
 *
 * @param claims the JWT's payload
 * @param paths claims that carry roles; all that are present add up
 * @returns different roles in order; undefined where a claim that is there has no such shape, or there are too many
 */
export function readClaimRoles(
  claims: Readonly<Record<string, unknown>>,
  paths: readonly string[],
): readonly string[] | undefined {
  const roles = new Set<string>()
  for (const path of paths) {
    const found = readRoles(findClaim(claims, path))
    if (found === undefined) return undefined
    for (const role of found) roles.add(role)
  }
  return roles.size > maxRoles ? undefined : Object.freeze([...roles])
}

/** Own properties only, and of plain objects only: no path leads into a prototype, a list or a text. */
function findClaim(claims: Readonly<Record<string, unknown>>, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path]
  let value: unknown = claims
  for (const part of path.split('.')) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, part))
      return undefined
    value = (value as Record<string, unknown>)[part]
  }
  return value
}

function readRoles(claim: unknown): readonly string[] | undefined {
  if (claim === undefined) return []
  if (typeof claim === 'string') {
    if (claim.length > maxTextLength || !isPlain(claim)) return undefined
    return claim.split(' ').filter(word => word.length > 0 && word.length <= maxRoleLength)
  }
  if (!Array.isArray(claim) || claim.length > maxRoles) return undefined
  return claim.every(
    role => typeof role === 'string' && role.length > 0 && role.length <= maxRoleLength && isPlain(role),
  )
    ? claim
    : undefined
}

/** Text that is safe to write into evidence and logs: no control, format or line separating characters, no half pairs. */
export function isPlain(text: string): boolean {
  return !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(text)
}

function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isText(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= maxLength && isPlain(value)
}

function refuse(reason: string): TokenvaultError {
  return new TokenvaultError('unauthenticated', reason)
}
