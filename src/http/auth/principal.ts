import { TokenvaultError } from '../../errors.ts'
import type { Principal } from '../../vault/admission/ports.ts'
import { isPlain, readClaimRoles } from './claim-roles.ts'

/** Seconds by which the issuer's clock and ours may differ. */
export const clockToleranceSeconds = 30

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

function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isText(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= maxLength && isPlain(value)
}

function refuse(reason: string): TokenvaultError {
  return new TokenvaultError('unauthenticated', reason)
}
