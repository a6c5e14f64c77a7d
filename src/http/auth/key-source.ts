import { createRemoteJWKSet, customFetch, errors, exportSPKI } from 'jose'
import { TokenvaultError } from '../../errors.ts'
import { fetchKeySet } from './fetch-key-set.ts'
import { JwtRefused, type RefusalReason } from './jwt-guard.ts'

/** How long the issuer is left alone, in seconds. */
export interface JwksCooldown {
  /** After a fetch that worked, before an unknown `kid` may cause another. */
  readonly unknownKidSeconds: number
  /** After a fetch that failed, before the next. */
  readonly failureSeconds: number
}

/** How long the issuer's word counts, and how long it may take. */
export interface JwksPatience {
  /** A withdrawn key is refused after at most that long. */
  readonly maxAgeSeconds: number
  readonly fetchTimeoutSeconds: number
}

export interface KeySource {
  /**
   * @param kid absent where the token names no key (RFC 7515 section 4.1.4): then exactly one key must fit the algorithm
   * @returns the issuer's public key as SPKI PEM
   * @throws JwtRefused when the issuer has no such key for that algorithm; TokenvaultError `jwks_unavailable`
   */
  find(alg: string, kid: string | undefined): Promise<string>
}

const minRsaBits = 2048

/**
 * Public keys of the issuer, fetched when first needed, again every 10 minutes (so a withdrawn key is refused after
 * at most that long), and when an unknown `kid` turns up, at most once in a cooldown whatever callers send. If the issuer
 * cannot be asked by then, old keys are not used any longer: an attacker could be blocking the news that a key was withdrawn.
 *
 * @param url where the issuer publishes its JWK Set (RFC 7517 section 5)
 */
export function createKeySource(
  url: string,
  cooldown: JwksCooldown = { unknownKidSeconds: 30, failureSeconds: 5 },
  patience: JwksPatience = { maxAgeSeconds: 600, fetchTimeoutSeconds: 5 },
): KeySource {
  let failedAtMs = Number.NEGATIVE_INFINITY
  const remote = createRemoteJWKSet(new URL(url), {
    timeoutDuration: patience.fetchTimeoutSeconds * 1000,
    cooldownDuration: cooldown.unknownKidSeconds * 1000,
    cacheMaxAge: patience.maxAgeSeconds * 1000,
    // jose waits only after a success: without this every request would call an issuer that is down.
    [customFetch]: async (href, options) => {
      if (performance.now() - failedAtMs < cooldown.failureSeconds * 1000) throw unavailable()
      try {
        return new Response(await fetchKeySet(href, options))
      } catch (error) {
        failedAtMs = performance.now()
        throw unavailable(error)
      }
    },
  })
  // jose hands out the same key object until the set is fetched anew, so this cache expires with the set.
  const pems = new WeakMap<object, string>()

  return {
    async find(alg, kid) {
      try {
        const key = await remote({ alg, ...(kid === undefined ? {} : { kid }) })
        const known = pems.get(key)
        if (known !== undefined) return known
        if (isWeak(key.algorithm)) throw refuse('key_too_weak')
        const pem = await exportSPKI(key)
        pems.set(key, pem)
        return pem
      } catch (error) {
        if (error instanceof TokenvaultError) throw error
        if (error instanceof errors.JWKSNoMatchingKey) throw refuse('unknown')
        if (error instanceof errors.JWKSMultipleMatchingKeys) throw refuse('ambiguous')
        // The set was read, so what is left is one entry of it that is not a key. Its neighbours must not suffer for it.
        throw refuse('key_unusable', error)
      }
    },
  }
}

/** RSA below 2,048 bits (RFC 7518 section 3.3). @param algorithm of a CryptoKey */
export function isWeak(algorithm: object): boolean {
  return 'modulusLength' in algorithm && Number(algorithm.modulusLength) < minRsaBits
}

function refuse(reason: RefusalReason, cause?: unknown): JwtRefused {
  return new JwtRefused(reason, { parameter: 'kid' }, { cause })
}

function unavailable(cause?: unknown): TokenvaultError {
  return new TokenvaultError('jwks_unavailable', 'the JWK Set cannot be fetched', { cause })
}
