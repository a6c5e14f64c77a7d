import {
  bearer,
  compact,
  constant,
  each,
  eachJson,
  ecdsa,
  ed25519,
  type Family,
  goodPayload,
  pss,
  raw,
  rsa,
  type Signer,
  unsigned,
} from './forge.ts'

const headerOf = (alg: unknown) => JSON.stringify({ alg, kid: 'key-1' })
const spellings = [
  'none',
  'None',
  'NONE',
  'nOnE',
  ' none',
  'none ',
  'none\u0000',
  'n\u043ene',
  '',
  null,
  false,
  0,
  [],
  {},
]

// r and s of ECDSA as 32 bytes each; n is the order of P-256.
const zero = Buffer.alloc(32)
const one = Buffer.from(`${'00'.repeat(31)}01`, 'hex')
const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex')
const field = Buffer.from('ffffffff00000001000000000000000000000000ffffffffffffffffffffffff', 'hex')
const signedAs = (signer: Signer) => () => bearer(compact(headerOf('ES256'), goodPayload(), signer))

/** What `alg` may say, and signatures that hold for any message where the arithmetic is careless. */
export const algorithm: Family = {
  accepted: {
    'ES256, signed so': raw(headerOf('ES256'), goodPayload()),
    'RS256 with a key of the set that is for it': ({ rsaKey }) =>
      bearer(compact('{"alg":"RS256","kid":"rsa-1"}', goodPayload(), rsa(rsaKey))),
    'RS256 with a key of the set that names no alg': ({ rsaKey }) =>
      bearer(compact('{"alg":"RS256","kid":"rsa-open"}', goodPayload(), rsa(rsaKey))),
  },
  refused: {
    ...eachJson(
      'no signature and alg',
      spellings,
      alg => () => bearer(compact(headerOf(alg), goodPayload(), unsigned)),
    ),
    ...eachJson('a good signature and alg', spellings, alg => raw(headerOf(alg), goodPayload())),
    'no alg at all, no signature': () => bearer(compact('{"kid":"key-1"}', goodPayload(), unsigned)),
    'no alg at all, a good signature': raw('{"kid":"key-1"}', goodPayload()),
    ...eachJson(
      'a good ES256 signature and alg',
      ['es256', 'ES256 ', 'ES256\u0000', 'ＥＳ２５６', ['ES256'], { 0: 'ES256' }],
      alg => raw(headerOf(alg), goodPayload()),
    ),
    ...each(
      [
        'HS256',
        'HS384',
        'HS512',
        'RS384',
        'RS512',
        'PS256',
        'PS384',
        'PS512',
        'ES384',
        'ES512',
        'ES256K',
        'EdDSA',
        'Ed25519',
        'RS1',
        'dir',
        'RSA-OAEP',
        'A128KW',
        'ECDH-ES',
        'PBES2-HS256+A128KW',
        'ML-DSA-65',
      ].map(alg => [`a good ES256 signature labelled ${alg}`, alg]),
      alg => raw(headerOf(alg), goodPayload()),
    ),
    'PS256, valid, while only RS256 is accepted': ({ rsaKey }) =>
      bearer(compact('{"alg":"PS256","kid":"rsa-open"}', goodPayload(), pss(rsaKey))),
    'a PSS signature labelled RS256': ({ rsaKey }) =>
      bearer(compact('{"alg":"RS256","kid":"rsa-open"}', goodPayload(), pss(rsaKey))),
    'RS512, valid, while only RS256 is accepted': ({ rsaKey }) =>
      bearer(compact('{"alg":"RS512","kid":"rsa-open"}', goodPayload(), rsa(rsaKey, 'sha512'))),
    'an RSA signature over SHA-512 labelled RS256': ({ rsaKey }) =>
      bearer(compact('{"alg":"RS256","kid":"rsa-open"}', goodPayload(), rsa(rsaKey, 'sha512'))),
    'an RSA signature over SHA-1 labelled RS256': ({ rsaKey }) =>
      bearer(compact('{"alg":"RS256","kid":"rsa-open"}', goodPayload(), rsa(rsaKey, 'sha1'))),
    'ES384, valid, while only ES256 is accepted': ({ p384Key }) =>
      bearer(compact('{"alg":"ES384","kid":"p384-1"}', goodPayload(), ecdsa(p384Key, 'sha384'))),
    'EdDSA, valid, while it is not accepted': ({ edKey }) =>
      bearer(compact('{"alg":"EdDSA","kid":"ed-1"}', goodPayload(), ed25519(edKey))),
    'an ECDSA signature over SHA-384 labelled ES256': ({ key }) =>
      bearer(compact(headerOf('ES256'), goodPayload(), ecdsa(key, 'sha384'))),
    'psychic: r = s = 0': signedAs(constant(Buffer.concat([zero, zero]))),
    'psychic: r = 0, s = 1': signedAs(constant(Buffer.concat([zero, one]))),
    'psychic: r = 1, s = 0': signedAs(constant(Buffer.concat([one, zero]))),
    'psychic: r = s = n': signedAs(constant(Buffer.concat([order, order]))),
    'psychic: r = p − n, s = n': signedAs(constant(Buffer.concat([field, order]))),
    'psychic: r = s = 0 in DER': signedAs(constant(Buffer.from('3006020100020100', 'hex'))),
    'psychic: no bytes in DER': signedAs(constant(Buffer.from('300402000200', 'hex'))),
    'an RSA signature of zeros': () =>
      bearer(compact('{"alg":"RS256","kid":"rsa-1"}', goodPayload(), constant(Buffer.alloc(256)))),
    'an RSA signature of one': () =>
      bearer(
        compact('{"alg":"RS256","kid":"rsa-1"}', goodPayload(), constant(Buffer.from(`${'00'.repeat(255)}01`, 'hex'))),
      ),
  },
}
