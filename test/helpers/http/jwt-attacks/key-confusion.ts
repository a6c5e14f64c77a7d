import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import type { JWK } from 'jose'
import {
  bearer,
  type Case,
  compact,
  each,
  ecdsa,
  type Family,
  goodPayload,
  hmac,
  type Issued,
  rsa,
  type Text,
} from './forge.ts'

const publicKey = (jwk: JWK) => createPublicKey({ key: jwk as never, format: 'jwk' })
const pem = (jwk: JWK) => publicKey(jwk).export({ type: 'spki', format: 'pem' }).toString()
const der = (jwk: JWK) => publicKey(jwk).export({ type: 'spki', format: 'der' })
const bytes = (text: string | undefined) => Buffer.from(text!, 'base64url')

/** Everything public that a verifier might take for a shared secret. */
const secrets: readonly (readonly [string, (issued: Issued) => Text])[] = [
  ['the public PEM', ({ key }) => pem(key.publicJwk)],
  ['the public PEM without its last line break', ({ key }) => pem(key.publicJwk).trimEnd()],
  ['the public PEM with CRLF', ({ key }) => pem(key.publicJwk).replaceAll('\n', '\r\n')],
  ['the base64 of the public PEM', ({ key }) => der(key.publicJwk).toString('base64')],
  ['the public DER', ({ key }) => der(key.publicJwk)],
  ['the public JWK', ({ key }) => JSON.stringify(key.publicJwk)],
  ['the whole JWK Set', ({ key }) => JSON.stringify({ keys: [key.publicJwk] })],
  [
    'the public point',
    ({ key: { publicJwk } }) => Buffer.concat([Buffer.of(4), bytes(publicJwk.x), bytes(publicJwk.y)]),
  ],
  ['the x coordinate', ({ key }) => bytes(key.publicJwk.x)],
  ['the kid', () => 'key-1'],
  ['nothing', () => ''],
  ['a word of a dictionary', () => 'secret'],
  ['the word null', () => 'null'],
]
const rsaSecrets: typeof secrets = [
  ['the public RSA PEM', ({ rsaKey }) => pem(rsaKey.publicJwk)],
  [
    'the public RSA PEM in PKCS #1',
    ({ rsaKey }) => publicKey(rsaKey.publicJwk).export({ type: 'pkcs1', format: 'pem' }).toString(),
  ],
  ['the RSA modulus', ({ rsaKey }) => bytes(rsaKey.publicJwk.n)],
]

const keyed =
  (alg: string, kid: string, hash = 'sha256') =>
  (secret: (issued: Issued) => Text): Case =>
  issued =>
    bearer(compact(JSON.stringify({ alg, kid }), goodPayload(), hmac(secret(issued), hash)))

const named = (lead: string, list: typeof secrets) => list.map(([name, secret]) => [`${lead} ${name}`, secret] as const)
const es256 = '{"alg":"ES256","kid":"key-1"}'

/** A key used as what it is not, and keys that are not the issuer's. */
export const keyConfusion: Family = {
  accepted: {},
  refused: {
    ...each(named('HS256 keyed with', secrets), keyed('HS256', 'key-1')),
    ...each(named('HS256 keyed with', rsaSecrets), keyed('HS256', 'rsa-1')),
    ...each(named('HS512 keyed with', secrets.slice(0, 1)), keyed('HS512', 'key-1', 'sha512')),
    ...each(named('an HMAC labelled ES256, keyed with', secrets.slice(0, 5)), keyed('ES256', 'key-1')),
    ...each(named('an HMAC labelled RS256, keyed with', rsaSecrets), keyed('RS256', 'rsa-1')),
    'RS256 over the kid of an EC key': ({ rsaKey }) =>
      bearer(compact('{"alg":"RS256","kid":"key-1"}', goodPayload(), rsa(rsaKey))),
    'ES256 over the kid of an RSA key': ({ key }) =>
      bearer(compact('{"alg":"ES256","kid":"rsa-1"}', goodPayload(), ecdsa(key))),
    'ES256 over the kid of an RSA key that names no alg': ({ key }) =>
      bearer(compact('{"alg":"ES256","kid":"rsa-open"}', goodPayload(), ecdsa(key))),
    'ES256 over the kid of a P-384 key, signed with it': ({ p384Key }) =>
      bearer(compact('{"alg":"ES256","kid":"p384-1"}', goodPayload(), ecdsa(p384Key))),
    'ES256 over the kid of a P-384 key that names no alg, signed with it': ({ p384Key }) =>
      bearer(compact('{"alg":"ES256","kid":"p384-open"}', goodPayload(), ecdsa(p384Key))),
    'ES256 over the kid of an Ed25519 key': ({ key }) =>
      bearer(compact('{"alg":"ES256","kid":"ed-1"}', goodPayload(), ecdsa(key))),
    'our kid, signed with a P-384 key': ({ p384Key }) => bearer(compact(es256, goodPayload(), ecdsa(p384Key))),
    'our kid, signed on the curve secp256k1': () => {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
      return bearer(
        compact(es256, goodPayload(), input => sign('sha256', input, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
      )
    },
    'our kid, signed by a stranger': ({ strangerKey }) => bearer(compact(es256, goodPayload(), ecdsa(strangerKey))),
    'our RSA kid, signed by a stranger': ({ strangerRsaKey }) =>
      bearer(compact('{"alg":"RS256","kid":"rsa-1"}', goodPayload(), rsa(strangerRsaKey))),
    'the kid of another key of the set': ({ encryptionKey }) =>
      bearer(compact(es256, goodPayload(), ecdsa(encryptionKey))),
    'a key of the set that is for encryption': ({ encryptionKey }) =>
      bearer(compact('{"alg":"ES256","kid":"enc-1"}', goodPayload(), ecdsa(encryptionKey))),
    'an RSA key of 1024 bits': ({ weakKey }) =>
      bearer(compact('{"alg":"RS256","kid":"rsa-weak"}', goodPayload(), rsa(weakKey))),
    'a symmetric key of the set': () => bearer(compact('{"alg":"HS256","kid":"oct-1"}', goodPayload(), hmac('secret'))),
    'a stranger’s key, embedded as jwk': ({ strangerKey }) =>
      bearer(
        compact(
          JSON.stringify({ alg: 'ES256', kid: 'key-1', jwk: strangerKey.publicJwk }),
          goodPayload(),
          ecdsa(strangerKey),
        ),
      ),
    'a stranger’s key, embedded as jwk without a kid': ({ strangerKey }) =>
      bearer(compact(JSON.stringify({ alg: 'ES256', jwk: strangerKey.publicJwk }), goodPayload(), ecdsa(strangerKey))),
    'a stranger’s key, embedded as a JWK for kid': ({ strangerKey }) =>
      bearer(compact(JSON.stringify({ alg: 'ES256', kid: strangerKey.publicJwk }), goodPayload(), ecdsa(strangerKey))),
  },
}
