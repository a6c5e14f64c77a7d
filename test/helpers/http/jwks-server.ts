import { exportJWK, type GenerateKeyPairResult, generateKeyPair, type JWK, SignJWT } from 'jose'
import type { Test } from 'tap'
import { keySet, startTroubledIssuer } from './troubled-issuer.ts'

export interface IssuerKey {
  readonly alg: string
  readonly kid: string
  readonly privateKey: GenerateKeyPairResult['privateKey']
  readonly publicJwk: JWK
}

export interface JwksServer {
  readonly url: string
  /** Requests that reached the server, answered or not. */
  fetches(): number
  publish(...keys: readonly JWK[]): void
  /** While down, every request is cut without an answer. */
  setDown(down: boolean): void
}

export const issuer = 'https://issuer.test'
export const audience = 'tokenvault'

export async function createIssuerKey(kid: string, alg = 'ES256'): Promise<IssuerKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  return { alg, kid, privateKey, publicJwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } }
}

/** A JWK Set over HTTP, as an issuer publishes it; ends with the test. */
export async function startJwksServer(t: Test, ...keys: readonly JWK[]): Promise<JwksServer> {
  let published = keys
  let down = false
  const { url, fetches } = await startTroubledIssuer(t, (response, request) => {
    if (down) request.socket.destroy()
    else keySet(...published)(response, request)
  })
  return {
    url,
    fetches,
    publish: (...next) => {
      published = next
    },
    setDown: next => {
      down = next
    },
  }
}

export const nowSeconds = (): number => Math.floor(Date.now() / 1000)

/** Claims that are accepted; `undefined` in the change leaves a claim out. */
export function acceptedClaims(change: Record<string, unknown> = {}): Record<string, unknown> {
  const now = nowSeconds()
  const claims = { iss: issuer, aud: audience, sub: 'casey', iat: now, exp: now + 600, roles: ['investigator'] }
  return JSON.parse(JSON.stringify({ ...claims, ...change }))
}

/** A signed JWT with accepted claims and header, changed as asked. */
export function signJwt(key: IssuerKey, claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}) {
  return new SignJWT(acceptedClaims(claims))
    .setProtectedHeader(JSON.parse(JSON.stringify({ alg: key.alg, kid: key.kid, typ: 'JWT', ...header })))
    .sign(key.privateKey)
}

/** Signs any two texts as a compact JWS, so that a test can write what no library would. */
export async function signRaw(
  key: IssuerKey,
  header: string | Uint8Array,
  payload: string | Uint8Array,
): Promise<string> {
  const input = `${Buffer.from(header).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`
  const algorithm = key.alg.startsWith('ES') ? { name: 'ECDSA', hash: 'SHA-256' } : 'RSASSA-PKCS1-v1_5'
  const signature = await crypto.subtle.sign(algorithm, key.privateKey, Buffer.from(input))
  return `${input}.${Buffer.from(signature).toString('base64url')}`
}
