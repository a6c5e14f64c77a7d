import { signJwt } from '../jwks-server.ts'
import { bearer, type Case, type Family } from './forge.ts'

/** Header lines around a token that is good. */
const around =
  (lines: (jwt: string) => readonly string[]): Case =>
  async ({ key }) =>
    lines(await signJwt(key))
const value = (edit: (jwt: string) => string): Case => around(jwt => ['authorization', edit(jwt)])

/** Where the token stands and how often. */
export const credential: Family = {
  accepted: {
    'scheme in lower case': value(jwt => `bearer ${jwt}`),
    'scheme in capitals': value(jwt => `BEARER ${jwt}`),
    'header name in capitals': around(jwt => ['AUTHORIZATION', `Bearer ${jwt}`]),
    'white space around the value, which is none of it': value(jwt => ` \t Bearer ${jwt} \t `),
    'another token where none is looked for': around(jwt => [
      ...bearer(jwt),
      'cookie',
      'token=x',
      'x-access-token',
      'x',
    ]),
  },
  refused: {
    'no Authorization': () => [],
    'an empty Authorization': () => ['authorization', ''],
    'Bearer alone': () => ['authorization', 'Bearer'],
    'Bearer and a space': () => ['authorization', 'Bearer '],
    'the token alone': value(jwt => jwt),
    Basic: () => ['authorization', 'Basic Y2FzZXk6c2VjcmV0'],
    'Basic with the token for a password': value(jwt => `Basic ${Buffer.from(`casey:${jwt}`).toString('base64')}`),
    Digest: () => ['authorization', 'Digest username="casey"'],
    DPoP: value(jwt => `DPoP ${jwt}`),
    'the scheme JWT': value(jwt => `JWT ${jwt}`),
    'two spaces': value(jwt => `Bearer  ${jwt}`),
    'a tab for the space': value(jwt => `Bearer\t${jwt}`),
    'a no-break space for the space': value(jwt => `Bearer\u00a0${jwt}`),
    'a colon after the scheme': value(jwt => `Bearer: ${jwt}`),
    'the scheme twice': value(jwt => `Bearer Bearer ${jwt}`),
    'quotation marks': value(jwt => `Bearer "${jwt}"`),
    'a parameter name': value(jwt => `Bearer token=${jwt}`),
    'text after the token': value(jwt => `Bearer ${jwt} x`),
    'two tokens joined by a comma': value(jwt => `Bearer ${jwt}, Bearer ${jwt}`),
    'two tokens joined by a comma, the second bare': value(jwt => `Bearer ${jwt},${jwt}`),
    'two equal headers': around(jwt => [...bearer(jwt), ...bearer(jwt)]),
    'a good header after a bad one': around(jwt => [...bearer('x'), ...bearer(jwt)]),
    'a bad header after a good one': around(jwt => [...bearer(jwt), ...bearer('x')]),
    'a good header after an empty one': around(jwt => ['authorization', '', ...bearer(jwt)]),
    'two headers of different case': around(jwt => [
      'authorization',
      `Bearer ${jwt}`,
      'Authorization',
      `Bearer ${jwt}`,
    ]),
    'the token in Proxy-Authorization': around(jwt => ['proxy-authorization', `Bearer ${jwt}`]),
    'the token in X-Forwarded-Authorization': around(jwt => ['x-forwarded-authorization', `Bearer ${jwt}`]),
    'the token in a cookie': around(jwt => ['cookie', `token=${jwt}; access_token=${jwt}`]),
    'the token in X-Access-Token': around(jwt => ['x-access-token', jwt]),
    'Authorization with an underscore': around(jwt => ['author_ization', `Bearer ${jwt}`]),
    'a principal that a proxy would set': () => [
      'x-remote-user',
      'casey',
      'x-forwarded-user',
      'casey',
      'x-roles',
      'investigator',
    ],
  },
}
