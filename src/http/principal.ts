import { TokenvaultError } from '../errors.ts'
import type { Principal } from '../vault/ports.ts'

/** Seconds by which the issuer's clock and ours may differ. */
export const clockToleranceSeconds = 30

/**
 * Makes the principal from claims whose signature, `iss`, `aud`, `exp` and `nbf` the library has checked, and checks
 * what the library does not: that times are whole seconds, that the token does not live too long or come from the
 * future, and that `sub` and `roles` are of a shape that is safe to write into evidence.
 *
 * @param claims the JWT's payload
 * @param maxLifetimeSeconds longest `exp` − `iat` accepted
 * @param nowSeconds seconds since 1970
 * @returns a frozen principal; a JWT without `roles` gives one that may do nothing
 * @throws TokenvaultError `unauthenticated`; its message is for our log, not for the caller
 */
export function readPrincipal(
  claims: Readonly<Record<string, unknown>>,
  maxLifetimeSeconds: number,
  nowSeconds: number,
): Principal {
  const { iss, aud, sub, exp, iat, nbf, roles } = claims
  if (!isTime(exp) || !isTime(iat) || !(nbf === undefined || isTime(nbf)))
    throw refuse('a time claim is not whole seconds')
  if (iat > nowSeconds + clockToleranceSeconds) throw refuse('iat is in the future')
  if (exp <= iat || exp - iat > maxLifetimeSeconds) throw refuse('lifetime is not within the limit')
  if (!isText(iss, 1024)) throw refuse('iss is not short text')
  if (!isText(sub, 256)) throw refuse('sub is not short text')
  if (!(typeof aud === 'string' || (Array.isArray(aud) && aud.length <= 32)))
    throw refuse('aud is not text or a short list')
  return Object.freeze({ issuer: iss, subject: sub, roles: readRoles(roles) })
}

function readRoles(roles: unknown): readonly string[] {
  if (roles === undefined) return Object.freeze([])
  if (!Array.isArray(roles) || roles.length > 32 || !roles.every(role => isText(role, 64))) {
    throw refuse('roles is not a short list of short text')
  }
  return Object.freeze([...roles])
}

function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isText(value: unknown, maxLength: number): value is string {
  return (
    typeof value === 'string' &&
    value.length > 0 &&
    value.length <= maxLength &&
    !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(value)
  )
}

function refuse(reason: string): TokenvaultError {
  return new TokenvaultError('unauthenticated', reason)
}
