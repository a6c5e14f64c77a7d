import { signJwt } from '../jwks-server.ts'
import {
  base64url,
  bearer,
  type Case,
  claims,
  compact,
  each,
  ecdsa,
  edited,
  editedSegment,
  type Family,
  goodHeader,
  goodPayload,
  type Issued,
  raw,
  rawPayload,
} from './forge.ts'

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/** Sets the lowest of the bits that the last letter carries beyond the last byte. */
const loosen = (segment: string) => segment.slice(0, -1) + alphabet[alphabet.indexOf(segment.at(-1)!) | 1]
/** Text whose base64url ends in a letter with unused bits. */
const padded = (text: string) => text + ' '.repeat(Buffer.byteLength(text) % 3 === 0 ? 1 : 0)

/** Segments that are spelt otherwise than the signer would, yet signed as they are spelt. */
const spelt =
  (index: 0 | 1, edit: (segment: string) => string): Case =>
  ({ key }) => {
    const segments = [base64url(padded(goodHeader)), base64url(padded(goodPayload()))]
    segments[index] = edit(segments[index]!)
    const input = segments.join('.')
    return bearer(`${input}.${base64url(ecdsa(key)(Buffer.from(input)))}`)
  }

const otherS: Case = ({ key }: Issued) => {
  const [head, payload, signature] = compact(goodHeader, goodPayload(), ecdsa(key)).split('.')
  const bytes = Buffer.from(signature!, 'base64url')
  const s = order - BigInt(`0x${bytes.subarray(32).toString('hex')}`)
  const negated = Buffer.from(s.toString(16).padStart(64, '0'), 'hex')
  return bearer(`${head}.${payload}.${base64url(Buffer.concat([bytes.subarray(0, 32), negated]))}`)
}

/** Repeated names, as written and escaped, beside the value that was signed. */
const twice = (names: readonly (readonly [string, string])[], make: (edit: (text: string) => string) => Case) =>
  Object.fromEntries(
    names.flatMap(([name, json]) => [
      [`${name} twice`, make(text => text.replace('{', `{"${name}":${json},`))],
      [
        `${name} twice, once escaped`,
        make(text => text.replace('{', `{"\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}":${json},`)),
      ],
    ]),
  )

const lenient: readonly (readonly [string, (json: string) => string | Uint8Array])[] = [
  ['a byte-order mark', json => `\ufeff${json}`],
  ['UTF-16 little endian', json => Buffer.from(json, 'utf16le')],
  ['UTF-16 big endian with its mark', json => Buffer.from(`\ufeff${json}`, 'utf16le').swap16()],
  ['a byte that is not UTF-8', json => Buffer.from(json.replace('{', '{"x":"\xff",'), 'latin1')],
  ['an overlong form', json => Buffer.from(json.replace('{', '{"x":"\xc0\xaf",'), 'latin1')],
  ['a surrogate in UTF-8', json => Buffer.from(json.replace('{', '{"x":"\xed\xa0\x80",'), 'latin1')],
  ['a cut sequence of UTF-8', json => Buffer.concat([Buffer.from(json), Buffer.of(0xe2, 0x82)])],
  ['a comma at the end', json => json.replace(/}$/, ',}')],
  ['a comment', json => `/**/${json}`],
  ['single quotes', json => json.replaceAll('"', "'")],
  ['names without quotes', json => json.replace(/"(\w+)":/g, '$1:')],
  ['a line break in a string', json => json.replace('{', '{"x":"a\nb",')],
  ['an escape that JSON does not have', json => json.replace('{', '{"x":"\\x41",')],
  ['a NUL at the end', json => `${json}\u0000`],
  ['a second object', json => `${json}{}`],
  ['text after the object', json => `${json}x`],
  ['a no-break space', json => `\u00a0${json}`],
  ['nothing', () => ''],
  ['white space only', () => '  '],
  ['half an object', json => json.slice(0, -1)],
]

/** Spellings of a token that readers take for the same, or do not read alike. */
export const encoding: Family = {
  accepted: {
    'white space around the payload': rawPayload(payload => ` \t\r\n${payload}\n`),
    'names written with escapes': rawPayload(payload => payload.replace('"sub"', '"\\u0073\\u0075\\u0062"')),
    'eight levels of nesting': rawPayload(payload => payload.replace('{', `{"a":${'['.repeat(7)}${']'.repeat(7)},`)),
    'a token of 16 KB': claims({ pad: 'x'.repeat(11_900) }),
    // Valid by ECDSA itself: nothing may ever be remembered under the text of a token.
    'the other signature of the same key, r and n − s': otherS,
  },
  refused: {
    ...each(
      lenient.map(([name, edit]) => [`the payload with ${name}`, edit] as const),
      edit => rawPayload(edit),
    ),
    ...each(
      lenient.map(([name, edit]) => [`the header with ${name}`, edit] as const),
      edit => raw(edit(goodHeader), goodPayload()),
    ),
    ...twice(
      [
        ['alg', '"none"'],
        ['kid', '"key-2"'],
      ],
      edit => raw(edit(goodHeader), goodPayload()),
    ),
    'typ twice': raw(goodHeader.replace('{', '{"typ":"JWT","typ":"JWT",'), goodPayload()),
    ...twice(
      [
        ['iss', '"https://attacker.test"'],
        ['aud', '"other"'],
        ['sub', '"admin"'],
        ['exp', '9999999999'],
        ['iat', '1'],
      ],
      edit => rawPayload(edit),
    ),
    'a name twice in a nested object': rawPayload(payload => payload.replace('{', '{"a":{"b":1,"b":2},')),
    'nine levels of nesting': rawPayload(payload => payload.replace('{', `{"deep":${'['.repeat(8)}${']'.repeat(8)},`)),
    '2,500 levels of lists': rawPayload(payload =>
      payload.replace('{', `{"deep":${'['.repeat(2500)}${']'.repeat(2500)},`),
    ),
    '900 levels of objects': rawPayload(payload =>
      payload.replace('{', `{"deep":${'{"a":'.repeat(900)}1${'}'.repeat(900)},`),
    ),
    'a token of 17 KB': claims({ pad: 'x'.repeat(12_500) }),
    'unused bits set in the header': spelt(0, loosen),
    'unused bits set in the payload': spelt(1, loosen),
    'unused bits set in the signature': editedSegment(2, loosen),
    'a padded header': spelt(0, segment => segment.padEnd(Math.ceil(segment.length / 4) * 4, '=')),
    'a padded payload': spelt(1, segment => segment.padEnd(Math.ceil(segment.length / 4) * 4, '=')),
    'a padded signature': edited(jwt => `${jwt}==`),
    'a letter too many in the header': spelt(0, segment =>
      `${segment}AAA`.slice(0, Math.ceil(segment.length / 4) * 4 + 1),
    ),
    'white space in the payload’s base64': spelt(1, segment => `${segment.slice(0, 8)} ${segment.slice(8)}`),
    'a tab in the payload’s base64': spelt(1, segment => `${segment.slice(0, 8)}\t${segment.slice(8)}`),
    'an asterisk in the payload’s base64': spelt(1, segment => `${segment.slice(0, 8)}*${segment.slice(8)}`),
    'a percent sign in the payload’s base64': spelt(1, segment => `${segment.slice(0, 8)}%2E${segment.slice(8)}`),
    'the standard alphabet in the payload': ({ key }) => {
      const input = `${base64url(goodHeader)}.${Buffer.from(goodPayload({ x: '\u00ff\u00fe\u00ff\u00bf~?>~?>' }))
        .toString('base64')
        .replaceAll('=', '')}`
      return bearer(`${/[+/]/.test(input) ? input : `${input}+`}.${base64url(ecdsa(key)(Buffer.from(input)))}`)
    },
    'the standard alphabet in the signature': editedSegment(2, segment => `+/${segment.slice(2)}`),
    'no signature': editedSegment(2, () => ''),
    'no signature and no dot before it': edited(jwt => jwt.split('.').slice(0, 2).join('.')),
    'a signature a byte too short': editedSegment(2, segment =>
      base64url(Buffer.from(segment, 'base64url').subarray(0, 63)),
    ),
    'a signature a byte too long': editedSegment(2, segment =>
      base64url(Buffer.concat([Buffer.from(segment, 'base64url'), Buffer.of(0)])),
    ),
    'half a signature': editedSegment(2, segment => base64url(Buffer.from(segment, 'base64url').subarray(0, 32))),
    'a signature twice': editedSegment(2, segment =>
      base64url(Buffer.concat([Buffer.from(segment, 'base64url'), Buffer.from(segment, 'base64url')])),
    ),
    'r and s exchanged': editedSegment(2, segment => {
      const bytes = Buffer.from(segment, 'base64url')
      return base64url(Buffer.concat([bytes.subarray(32), bytes.subarray(0, 32)]))
    }),
    'a signature in hexadecimal': editedSegment(2, segment => Buffer.from(segment, 'base64url').toString('hex')),
    'an ECDSA signature in DER': ({ key }) => bearer(compact(goodHeader, goodPayload(), ecdsa(key, 'sha256', 'der'))),
    'one bit of the signature changed': editedSegment(2, segment => {
      const bytes = Buffer.from(segment, 'base64url')
      bytes[40]! ^= 1
      return base64url(bytes)
    }),
    'the signature of another payload': async ({ key }) => {
      const [, , signature] = (await signJwt(key, { sub: 'dana' })).split('.')
      const [head, payload] = (await signJwt(key)).split('.')
      return bearer(`${head}.${payload}.${signature}`)
    },
    'the signature of another header': ({ key }) => {
      const [, payload, signature] = compact(
        '{"alg":"ES256","kid":"key-1","typ":"JWT"}',
        goodPayload(),
        ecdsa(key),
      ).split('.')
      return bearer(`${base64url(goodHeader)}.${payload}.${signature}`)
    },
    'the payload changed': editedSegment(1, () => base64url(goodPayload({ sub: 'admin' }))),
    'the payload signed alone': ({ key }) =>
      bearer(
        `${base64url(goodHeader)}.${base64url(goodPayload())}.${base64url(ecdsa(key)(Buffer.from(goodPayload())))}`,
      ),
    'four segments': edited(jwt => `${jwt}.AAAA`),
    'one segment': edited(jwt => jwt.split('.')[0]!),
    'dots only': () => bearer('..'),
    'an empty payload segment': editedSegment(1, () => ''),
    'an empty header segment': editedSegment(0, () => ''),
    'a dot before': edited(jwt => `.${jwt}`),
    'a dot after': edited(jwt => `${jwt}.`),
    'a colon for the dot': edited(jwt => jwt.replace('.', ':')),
    'letters of another script': editedSegment(2, segment => `\u00c0${segment.slice(1)}`),
  },
}
