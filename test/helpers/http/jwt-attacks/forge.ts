import { constants, createHmac, createSign, KeyObject, sign } from 'node:crypto'
import { acceptedClaims, createIssuerKey, type IssuerKey, signJwt } from '../jwks-server.ts'

/** What an attacker has: tokens signed for him, public keys of the issuer, and keys of his own. */
export interface Issued {
  /** ES256, `key-1`. */
  readonly key: IssuerKey
  /** RS256, `rsa-1`. */
  readonly rsaKey: IssuerKey
  /** ES384, `p384-1`: in the set, though the API does not accept ES384. */
  readonly p384Key: IssuerKey
  /** EdDSA, `ed-1`: likewise. */
  readonly edKey: IssuerKey
  /** RS256 of 1024 bits, `rsa-weak`. */
  readonly weakKey: IssuerKey
  /** ES256, `enc-1`: in the set for encryption. */
  readonly encryptionKey: IssuerKey
  /** Not in the set. */
  readonly strangerKey: IssuerKey
  readonly strangerRsaKey: IssuerKey
}

/** Gives the header lines of one request, names and values in turn. */
export type Case = (issued: Issued) => Promise<readonly string[]> | readonly string[]

/** Cases by the name of the attack, or of the legitimate variant. */
export interface Family {
  readonly accepted: Readonly<Record<string, Case>>
  readonly refused: Readonly<Record<string, Case>>
}

export type Text = string | Uint8Array
export type Signer = (input: Buffer) => Uint8Array

export const bearer = (jwt: string): readonly string[] => ['authorization', `Bearer ${jwt}`]
export const base64url = (text: Text): string => Buffer.from(text).toString('base64url')
export const goodHeader = '{"alg":"ES256","kid":"key-1"}'
export const goodPayload = (change: Record<string, unknown> = {}): string => JSON.stringify(acceptedClaims(change))

const privateKey = (key: IssuerKey) => KeyObject.from(key.privateKey)

/** ECDSA as JWS has it (RFC 7518 section 3.4), with any key and hash. */
export const ecdsa =
  (key: IssuerKey, hash = 'sha256', dsaEncoding: 'ieee-p1363' | 'der' = 'ieee-p1363'): Signer =>
  input =>
    sign(hash, input, { key: privateKey(key), dsaEncoding })
export const rsa =
  (key: IssuerKey, hash = 'sha256'): Signer =>
  input =>
    createSign(hash).update(input).sign(privateKey(key))
export const pss =
  (key: IssuerKey, hash = 'sha256'): Signer =>
  input =>
    sign(hash, input, {
      key: privateKey(key),
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    })
export const ed25519 =
  (key: IssuerKey): Signer =>
  input =>
    sign(null, input, privateKey(key))
export const hmac =
  (secret: Text, hash = 'sha256'): Signer =>
  input =>
    createHmac(hash, secret).update(input).digest()
export const unsigned: Signer = () => Buffer.alloc(0)
export const constant =
  (bytes: Uint8Array): Signer =>
  () =>
    bytes

/** A compact JWS of any texts and signature, so that a test can write what no library would. */
export function compact(header: Text, payload: Text, signer: Signer): string {
  const input = `${base64url(header)}.${base64url(payload)}`
  return `${input}.${base64url(signer(Buffer.from(input)))}`
}

/** Signed well with `key-1`, whatever header and payload say. */
export const raw =
  (header: Text, payload: Text): Case =>
  ({ key }) =>
    bearer(compact(header, payload, ecdsa(key)))
export const rawPayload = (edit: (payload: string) => Text): Case => raw(goodHeader, edit(goodPayload()))
export const claims =
  (change: Record<string, unknown>): Case =>
  async ({ key }) =>
    bearer(await signJwt(key, change))
export const header =
  (change: Record<string, unknown>): Case =>
  ({ key }) =>
    bearer(compact(JSON.stringify({ alg: 'ES256', kid: 'key-1', ...change }), goodPayload(), ecdsa(key)))
/** An accepted token, changed afterwards. */
export const edited =
  (edit: (jwt: string) => string): Case =>
  async ({ key }) =>
    bearer(edit(await signJwt(key)))
/** One segment of an accepted token changed afterwards: 0 header, 1 payload, 2 signature. */
export const editedSegment = (index: number, edit: (segment: string) => string): Case =>
  edited(jwt =>
    jwt
      .split('.')
      .map((segment, place) => (place === index ? edit(segment) : segment))
      .join('.'),
  )

/** Cases that differ by one value, named by what is said of it. */
export function each<Value>(
  values: readonly (readonly [name: string, value: Value])[],
  make: (value: Value) => Case,
): Record<string, Case> {
  return Object.fromEntries(values.map(([name, value]) => [name, make(value)]))
}

/** The same for values that are named by their JSON, in ASCII that no reporter takes for a command. */
export const eachJson = (lead: string, values: readonly unknown[], make: (value: unknown) => Case) =>
  each(
    values.map(value => [`${lead} ${printable(JSON.stringify(value))}`, value]),
    make,
  )

function printable(text: string): string {
  const escaped = text.replace(/[^\x20-\x7e]|#/g, letter => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return escaped.length > 80 ? `${escaped.slice(0, 77)}… of ${text.length}` : escaped
}

export async function issueKeys(key: IssuerKey): Promise<Issued> {
  const [rsaKey, p384Key, edKey, encryptionKey, strangerKey, strangerRsaKey] = await Promise.all([
    createIssuerKey('rsa-1', 'RS256'),
    createIssuerKey('p384-1', 'ES384'),
    createIssuerKey('ed-1', 'EdDSA'),
    createIssuerKey('enc-1'),
    createIssuerKey('stranger'),
    createIssuerKey('stranger-rsa', 'RS256'),
  ])
  return { key, rsaKey, p384Key, edKey, encryptionKey, strangerKey, strangerRsaKey, weakKey: await weakRsaKey() }
}

async function weakRsaKey(): Promise<IssuerKey> {
  const algorithm = {
    name: 'RSASSA-PKCS1-v1_5',
    hash: 'SHA-256',
    modulusLength: 1024,
    publicExponent: Uint8Array.of(1, 0, 1),
  }
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const publicJwk = await crypto.subtle.exportKey('jwk', pair.publicKey)
  return {
    alg: 'RS256',
    kid: 'rsa-weak',
    privateKey: pair.privateKey,
    publicJwk: { kty: 'RSA', n: publicJwk.n!, e: publicJwk.e!, kid: 'rsa-weak', alg: 'RS256', use: 'sig' },
  }
}
