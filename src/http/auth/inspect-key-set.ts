import { importJWK, type JWK } from 'jose'
import { TokenvaultError } from '../../errors.ts'
import { fetchReply } from './fetch-key-set.ts'
import { isWeak } from './key-source.ts'

/** What an issuer publishes. Keys are named by their place in the set, from 1. */
export interface KeySetFacts {
  readonly keys: number
  /** Keys of which each can verify JWTs of an accepted algorithm. */
  readonly usable: number
  /** Keys that only holders of a secret should have: what is signed with them proves nothing. */
  readonly private: readonly number[]
  /** Keys that the API refuses, and why. */
  readonly refused: readonly { readonly key: number; readonly because: string }[]
  /** Usable keys that share their `kid` with an earlier one of the same algorithm: JWTs of that `kid` are refused. */
  readonly ambiguous: readonly number[]
  /** Milliseconds since 1970: by the issuer's Date header, which has whole seconds, and by this host around the call. */
  readonly dated: { readonly serverMs: number; readonly sentAtMs: number; readonly receivedAtMs: number } | undefined
}

/**
 * Fetches a JWK Set as the API does, and looks at every key as the API would.
 *
 * @param algorithms that the API accepts
 * @throws TokenvaultError `jwks_unavailable`, and why
 */
export async function inspectKeySet(
  url: string,
  algorithms: readonly string[],
  signal: AbortSignal,
): Promise<KeySetFacts> {
  const sentAtMs = Date.now()
  const { text, headers } = await fetchReply(url, { signal }).catch(error => {
    throw new TokenvaultError('jwks_unavailable', `the JWK Set cannot be fetched: ${reasonOf(error)}`)
  })
  const receivedAtMs = Date.now()
  const { keys }: { keys: readonly JWK[] } = JSON.parse(text)
  const refused: { key: number; because: string }[] = []
  const ambiguous: number[] = []
  const seen = new Set<string>()
  let usable = 0
  for (const [place, jwk] of keys.entries()) {
    const key = place + 1
    const found = await findAlgorithms(jwk, algorithms)
    if (typeof found === 'string') {
      refused.push({ key, because: found })
      continue
    }
    usable++
    // JWTs without a kid find the one key of their algorithm.
    const names = jwk.kid === undefined ? [] : found.map(algorithm => `${algorithm} ${jwk.kid}`)
    if (names.some(name => seen.has(name))) ambiguous.push(key)
    for (const name of names) seen.add(name)
  }
  const isPrivate = (jwk: JWK) => Object.hasOwn(jwk, 'd') || jwk.kty === 'oct'
  return {
    keys: keys.length,
    usable,
    private: keys.flatMap((jwk, place) => (isPrivate(jwk) ? [place + 1] : [])),
    refused,
    ambiguous,
    dated: readDated(headers, sentAtMs, receivedAtMs),
  }
}

/** A cache in between keeps the issuer's Date and says in Age how long ago that was (RFC 9111 section 5.1). */
function readDated(headers: Headers, sentAtMs: number, receivedAtMs: number): KeySetFacts['dated'] {
  const dateMs = Date.parse(headers.get('date') ?? '')
  const ageSeconds = /^\d{1,9}$/.test(headers.get('age') ?? '') ? Number(headers.get('age')) : 0
  return Number.isNaN(dateMs) ? undefined : { serverMs: dateMs + ageSeconds * 1000, sentAtMs, receivedAtMs }
}

/** Curve of each ECDSA algorithm (RFC 7518 section 3.4). */
const curves: ReadonlyMap<string, string> = new Map([
  ['ES256', 'P-256'],
  ['ES384', 'P-384'],
  ['ES512', 'P-521'],
])

function fits({ kty, crv, alg }: JWK, algorithm: string): boolean {
  if (alg !== undefined && alg !== algorithm) return false
  if (algorithm === 'EdDSA') return kty === 'OKP' && crv === 'Ed25519'
  if (algorithm.startsWith('ES')) return kty === 'EC' && crv === curves.get(algorithm)
  return kty === 'RSA'
}

/** @returns the algorithms whose JWTs the key can verify, or why there are none */
async function findAlgorithms(jwk: JWK, algorithms: readonly string[]): Promise<readonly string[] | string> {
  const { use, key_ops: operations } = jwk
  if (use !== undefined && use !== 'sig') return 'is not for signatures'
  if (Array.isArray(operations) && !operations.includes('verify')) return 'is not for verifying'
  const fitting = algorithms.filter(algorithm => fits(jwk, algorithm))
  if (fitting.length === 0) return 'is of no algorithm that JWT_ALGORITHMS accepts'
  try {
    const imported = await importJWK(jwk, fitting[0])
    if (imported instanceof Uint8Array || imported.type !== 'public') return 'is not a public key'
    return isWeak(imported.algorithm) ? 'is RSA below 2,048 bits' : fitting
  } catch {
    return 'is not a valid key'
  }
}

/** Never the text of a library, which may quote the reply. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  if (error instanceof SyntaxError) return 'the reply is not JSON'
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return 'no reply in time'
  const code = (error.cause as { code?: unknown } | undefined)?.code
  if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(code)) return code
  // Ours: `status 404`, `no JWK Set`, `more than … bytes`. Those of fetch have a name of their own.
  return error.name === 'Error' ? error.message : 'the connection failed'
}
