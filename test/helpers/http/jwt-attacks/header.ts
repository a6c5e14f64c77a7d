import { deflateRawSync } from 'node:zlib'
import { signJwt } from '../jwks-server.ts'
import {
  base64url,
  bearer,
  compact,
  eachJson,
  ecdsa,
  type Family,
  goodHeader,
  goodPayload,
  header,
  raw,
} from './forge.ts'

const with_ = (change: Record<string, unknown>) => JSON.stringify({ alg: 'ES256', kid: 'key-1', ...change })
const url = 'https://attacker.test/keys'

/** Header parameters that make a verifier fetch, inflate, trust or read otherwise. */
export const joseHeader: Family = {
  accepted: {
    'no typ': header({}),
    ...eachJson('typ', ['JWT', 'jwt', 'at+jwt', 'AT+JWT', 'application/at+jwt', 'application/JWT'], typ =>
      header({ typ }),
    ),
    'parameters in another order, with white space': raw(
      ' { "kid" : "key-1" ,\n "typ" : "JWT" ,\t"alg" : "ES256" } ',
      goodPayload(),
    ),
    // RFC 7515 section 4: header parameters that are not understood are ignored.
    'x5t and x5t#S256, as Entra and IdentityServer send them': header({ x5t: 'AAAA', 'x5t#S256': 'AAAA' }),
    'pi.atm, as Ping sends it': header({ 'pi.atm': '1' }),
    'cty of a token whose payload is no JWT all the same': header({ cty: 'JWT' }),
    'the parameters of a JWE on a signed token': header({ enc: 'A256GCM', p2c: 2_147_483_647, epk: {} }),
    'a nonce': header({ nonce: 'x' }),
    'a claim repeated in the header, which is not read there': header({ iss: 'https://attacker.test' }),
    'a parameter that nobody knows': header({ tenant: 'default' }),
    'a parameter with an empty name': header({ '': '' }),
    'alg in capitals beside alg': header({ ALG: 'none' }),
    'names of prototypes in the header': raw(
      goodHeader.replace('{', '{"constructor":{"prototype":{"alg":"none"}},"toString":null,'),
      goodPayload(),
    ),
  },
  refused: {
    ...eachJson(
      'typ',
      [
        '',
        'JWE',
        'JOSE',
        'dpop+jwt',
        'logout+jwt',
        'secevent+jwt',
        'id_token',
        'jwt ',
        'application/json',
        'text/jwt',
        1,
        null,
        true,
        ['JWT'],
        {},
      ],
      typ => header({ typ }),
    ),
    ...eachJson('crit', [[], ['exp'], ['b64'], ['alg'], 'exp'], crit => header({ crit })),
    'crit that names a parameter which stands there': header({ crit: ['tenant'], tenant: 'default' }),
    ...Object.fromEntries(
      ['crit', 'jku', 'jwk', 'x5u', 'x5c', 'b64', 'zip'].map(name => [`${name} null`, header({ [name]: null })]),
    ),
    jku: header({ jku: `${url}.json` }),
    'jku of a file': header({ jku: 'file:///etc/passwd' }),
    'jku inside the network': header({ jku: 'http://169.254.169.254/latest/meta-data/' }),
    x5u: header({ x5u: `${url}.pem` }),
    x5c: header({ x5c: ['MIIB'] }),
    'our own key, embedded as jwk': ({ key }) =>
      bearer(compact(with_({ jwk: key.publicJwk }), goodPayload(), ecdsa(key))),
    'b64 true': header({ b64: true }),
    'b64 false': header({ b64: false }),
    'b64 false, named by crit, with a payload that is not encoded': ({ key }) => {
      const input = `${base64url(with_({ b64: false, crit: ['b64'] }))}.${'abc'}`
      return bearer(`${input}.${base64url(ecdsa(key)(Buffer.from(input)))}`)
    },
    zip: header({ zip: 'DEF' }),
    'zip, with a payload that is deflated': raw(with_({ zip: 'DEF' }), deflateRawSync(goodPayload())),
    'zip, with a payload that swells to 100 MB': raw(
      with_({ zip: 'DEF' }),
      deflateRawSync(Buffer.alloc(1_000_000)).subarray(0, 2000),
    ),
    'a JWT in the payload': async ({ key }) => bearer(compact(with_({ cty: 'JWT' }), await signJwt(key), ecdsa(key))),
    'a JWT in the payload, as JSON text': async ({ key }) =>
      bearer(compact(goodHeader, JSON.stringify(await signJwt(key)), ecdsa(key))),
    'a JWE': () =>
      bearer(
        `${base64url('{"alg":"dir","enc":"A256GCM","kid":"key-1"}')}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`,
      ),
    'a JWE of PBES2 with 2^31 rounds': () =>
      bearer(
        `${base64url('{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2147483647,"p2s":"AAAA"}')}.AAAA.AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`,
      ),
    'the JWS JSON serialization': ({ key }) => {
      const [head, payload, signature] = compact(goodHeader, goodPayload(), ecdsa(key)).split('.')
      return bearer(JSON.stringify({ protected: head, payload, signature }))
    },
    'an empty header': raw('{}', goodPayload()),
    'no header': raw('', goodPayload()),
    'a header that is a list': raw(`[${goodHeader}]`, goodPayload()),
    'a header that is null': raw('null', goodPayload()),
    'a header that is text': raw('"ES256"', goodPayload()),
    'a header that is a number': raw('256', goodPayload()),
    'a header nested within a header': raw(`{"header":${goodHeader}}`, goodPayload()),
    'a header of 1,000 levels': raw(
      goodHeader.replace('{', `{"typ":${'['.repeat(1000)}${']'.repeat(1000)},`),
      goodPayload(),
    ),
    '__proto__ in the header': raw('{"__proto__":{"alg":"ES256","kid":"key-1"}}', goodPayload()),
    '__proto__ beside the parameters': raw(goodHeader.replace('{', '{"__proto__":{"typ":"JWT"},'), goodPayload()),
  },
}
