import { hash } from 'node:crypto'

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
