import { createHmac } from 'node:crypto'
import { exportSPKI, importJWK } from 'jose'
import t from 'tap'
import { type RunningApp, sendRaw, startApp } from '../helpers/http-app.ts'
import {
  acceptedClaims,
  audience,
  createIssuerKey,
  type IssuerKey,
  issuer,
  nowSeconds,
  signJwt,
  signRaw,
} from '../helpers/jwks-server.ts'

const body = JSON.stringify({ purpose: 'fraud_investigation', tokens: ['ip_v1_AAAA'] })
const json = ['content-type', 'application/json', 'content-length', String(body.length)]
const bearer = (jwt: string) => ['authorization', `Bearer ${jwt}`]
const ask = ({ port }: RunningApp, headers: readonly string[]) =>
  sendRaw(port, 'POST', '/v1/detokenize', [...json, ...headers], body)

interface Issued {
  readonly key: IssuerKey
  readonly rsaKey: IssuerKey
  readonly strangerKey: IssuerKey
}

/** Gives the headers of one request. */
type Case = (issued: Issued) => Promise<readonly string[]> | readonly string[]

const claims =
  (change: Record<string, unknown>): Case =>
  async ({ key }) =>
    bearer(await signJwt(key, change))
const header =
  (change: Record<string, unknown>): Case =>
  async ({ key }) =>
    bearer(await signJwt(key, {}, change))
const raw =
  (headerText: string | Uint8Array, payloadText: string | Uint8Array): Case =>
  async ({ key }) =>
    bearer(await signRaw(key, headerText, payloadText))
const rawPayload = (edit: (payload: string) => string | Uint8Array): Case =>
  raw(goodHeader, edit(JSON.stringify(acceptedClaims())))
const edited =
  (edit: (jwt: string) => string): Case =>
  async ({ key }) =>
    bearer(edit(await signJwt(key)))

const goodHeader = JSON.stringify({ alg: 'ES256', kid: 'key-1' })
const now = nowSeconds()
const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

const accepted: Record<string, Case> = {
  'a plain JWT': claims({}),
  'an RS256 JWT of another key of the set': async ({ rsaKey }) => bearer(await signJwt(rsaKey)),
  'scheme in lower case': async ({ key }) => ['authorization', `bearer ${await signJwt(key)}`],
  'header name in capitals': async ({ key }) => ['AUTHORIZATION', `Bearer ${await signJwt(key)}`],
  'without typ': header({ typ: undefined }),
  'typ at+jwt': header({ typ: 'at+jwt' }),
  'typ application/at+jwt': header({ typ: 'application/AT+JWT' }),
  'aud as a list that holds ours': claims({ aud: ['other', audience] }),
  'nbf in the past': claims({ nbf: now - 60 }),
  'iat within clock tolerance': claims({ iat: now + 10, exp: now + 600 }),
  'exp within clock tolerance': claims({ iat: now - 600, exp: now - 5 }),
  'exactly the longest lifetime': claims({ iat: now, exp: now + 3600 }),
  'without roles': claims({ roles: undefined }),
  'roles as text': claims({ roles: 'investigator auditor' }),
  'further claims, nested within bounds': claims({ realm: { access: { list: [1, { a: 'b' }] } } }),
  'non-ASCII sub': claims({ sub: 'Zoë Ünal' }),
}

const refused: Record<string, Case> = {
  // Authorization header.
  'no Authorization': () => [],
  'empty Authorization': () => ['authorization', ''],
  Basic: () => ['authorization', 'Basic Y2FzZXk6c2VjcmV0'],
  'Bearer without a token': () => ['authorization', 'Bearer '],
  'two spaces': async ({ key }) => ['authorization', `Bearer  ${await signJwt(key)}`],
  'a tab for the space': async ({ key }) => ['authorization', `Bearer\t${await signJwt(key)}`],
  'text after the token': async ({ key }) => ['authorization', `Bearer ${await signJwt(key)} x`],
  'two equal Authorization headers': async ({ key }) => {
    const one = bearer(await signJwt(key))
    return [...one, ...one]
  },
  'a good Authorization header after a bad one': async ({ key }) => [
    'authorization',
    'Bearer x',
    ...bearer(await signJwt(key)),
  ],
  'two tokens joined by a comma': async ({ key }) => {
    const jwt = await signJwt(key)
    return ['authorization', `Bearer ${jwt}, Bearer ${jwt}`]
  },
  'the token in the query only': () => ['x-access-token', 'abc'],
  // Compact form.
  'four segments': edited(jwt => `${jwt}.AAAA`),
  'two segments': edited(jwt => jwt.split('.').slice(0, 2).join('.')),
  'an empty signature': edited(jwt => `${jwt.split('.').slice(0, 2).join('.')}.`),
  padding: edited(jwt => `${jwt}==`),
  'standard base64 alphabet': edited(jwt => `${jwt.slice(0, -3)}+/A`),
  'unused bits set in the signature': edited(jwt => jwt.slice(0, -1) + nextLetter(jwt.at(-1)!)),
  'unused bits set in the payload': async ({ key }) => bearer(await withLooseBits(key)),
  'a 9 KB token': claims({ pad: 'x'.repeat(9000) }),
  'deep nesting': rawPayload(payload => payload.replace('{', `{"deep":${'['.repeat(9)}${']'.repeat(9)},`)),
  '3,000 levels of nesting': rawPayload(payload =>
    payload.replace('{', `{"deep":${'['.repeat(1500)}${']'.repeat(1500)},`),
  ),
  'invalid UTF-8 in the payload': rawPayload(payload => Buffer.from(payload.replace('casey', 'cas\xff'), 'latin1')),
  'a byte-order mark': rawPayload(payload => `\ufeff${payload}`),
  'a payload that is a list': rawPayload(payload => `[${payload}]`),
  'a payload that is null': rawPayload(() => 'null'),
  'a payload that is no JSON': rawPayload(() => '{"iss":'),
  'sub twice': rawPayload(payload => payload.replace('{', '{"sub":"admin",')),
  'sub twice, once escaped': rawPayload(payload => payload.replace('{', '{"s\\u0075b":"admin",')),
  'a name twice in a nested object': rawPayload(payload => payload.replace('{', '{"a":{"b":1,"b":2},')),
  '__proto__ as a claim': rawPayload(payload => payload.replace('{', '{"__proto__":{"roles":["investigator"]},')),
  'alg twice': raw('{"alg":"ES256","alg":"ES256","kid":"key-1"}', JSON.stringify(acceptedClaims())),
  // Algorithm and signature.
  'alg none without signature': () =>
    bearer(`${base64url({ alg: 'none', kid: 'key-1' })}.${base64url(acceptedClaims())}.`),
  'alg none with a signature': raw('{"alg":"none","kid":"key-1"}', JSON.stringify(acceptedClaims())),
  'alg NONE': raw('{"alg":"nOnE","kid":"key-1"}', JSON.stringify(acceptedClaims())),
  'HS256 with the public key as secret': async ({ key }) => bearer(await hmacWithPublicKey(key)),
  'an algorithm that is not on the list': raw('{"alg":"ES384","kid":"key-1"}', JSON.stringify(acceptedClaims())),
  'alg as a list': raw('{"alg":["ES256"],"kid":"key-1"}', JSON.stringify(acceptedClaims())),
  'RS256 over the kid of an EC key': raw('{"alg":"RS256","kid":"key-1"}', JSON.stringify(acceptedClaims())),
  'ES256 over the kid of an RSA key': raw('{"alg":"ES256","kid":"rsa-1"}', JSON.stringify(acceptedClaims())),
  'ES256 over an RSA key whose JWK names no alg': raw(
    '{"alg":"ES256","kid":"rsa-open"}',
    JSON.stringify(acceptedClaims()),
  ),
  'a stranger’s signature under our kid': async ({ strangerKey }) =>
    bearer(await signJwt({ ...strangerKey, kid: 'key-1' })),
  'a changed payload': edited(jwt => {
    const [head, , signature] = jwt.split('.')
    return `${head}.${base64url(acceptedClaims({ sub: 'admin' }))}.${signature}`
  }),
  'a changed signature': edited(jwt => {
    const [head, payload, signature] = jwt.split('.') as [string, string, string]
    return `${head}.${payload}.${signature[0] === 'A' ? 'B' : 'A'}${signature.slice(1)}`
  }),
  // JOSE header.
  'an unknown kid': header({ kid: 'key-2' }),
  'no kid': header({ kid: undefined }),
  'an empty kid': header({ kid: '' }),
  'kid as a number': raw('{"alg":"ES256","kid":1}', JSON.stringify(acceptedClaims())),
  'kid __proto__': header({ kid: '__proto__' }),
  'kid constructor': header({ kid: 'constructor' }),
  'kid as a path': header({ kid: '../../../../dev/null' }),
  'kid with a line break': header({ kid: 'key-1\n' }),
  'kid of 257 letters': header({ kid: 'k'.repeat(257) }),
  crit: raw('{"alg":"ES256","kid":"key-1","crit":["exp"]}', JSON.stringify(acceptedClaims())),
  jku: header({ jku: 'https://attacker.test/jwks.json' }),
  x5u: header({ x5u: 'https://attacker.test/cert.pem' }),
  x5c: header({ x5c: ['MIIB'] }),
  'jwk, the stranger’s own key': async ({ strangerKey }) =>
    bearer(await signJwt({ ...strangerKey, kid: 'key-1' }, {}, { jwk: strangerKey.publicJwk })),
  'b64 false': raw('{"alg":"ES256","kid":"key-1","b64":false}', JSON.stringify(acceptedClaims())),
  zip: header({ zip: 'DEF' }),
  'typ of another kind of token': header({ typ: 'dpop+jwt' }),
  'typ as a number': raw('{"alg":"ES256","kid":"key-1","typ":1}', JSON.stringify(acceptedClaims())),
  // Claims.
  'wrong iss': claims({ iss: 'https://attacker.test' }),
  'iss with a slash too many': claims({ iss: `${issuer}/` }),
  'iss as a list': claims({ iss: [issuer] }),
  'wrong aud': claims({ aud: 'other' }),
  'aud as an empty list': claims({ aud: [] }),
  'aud as a list with a number': claims({ aud: [audience, 1] }),
  ...Object.fromEntries(['iss', 'aud', 'sub', 'exp', 'iat'].map(name => [`no ${name}`, claims({ [name]: undefined })])),
  ...Object.fromEntries(['iss', 'aud', 'sub', 'exp', 'iat'].map(name => [`${name} null`, claims({ [name]: null })])),
  expired: claims({ iat: now - 700, exp: now - 100 }),
  'exp 100 years away': claims({ exp: now + 100 * 365 * 86_400 }),
  'a second more than the longest lifetime': claims({ iat: now, exp: now + 3601 }),
  'exp before iat': claims({ iat: now, exp: now - 1 }),
  'exp as text': claims({ exp: String(now + 600) }),
  'exp with a fraction': claims({ exp: now + 600.5 }),
  'exp beyond exact integers': rawPayload(payload => payload.replace(/"exp":\d+/, '"exp":1e300')),
  'iat in the future': claims({ iat: now + 300, exp: now + 600 }),
  'iat negative': claims({ iat: -1 }),
  'nbf in the future': claims({ nbf: now + 300 }),
  'nbf as text': claims({ nbf: 'tomorrow' }),
  'sub empty': claims({ sub: '' }),
  'sub as an object': claims({ sub: { id: 1 } }),
  'sub of 257 letters': claims({ sub: 's'.repeat(257) }),
  'sub with a line break': claims({ sub: 'casey\n{"event":"forged"}' }),
  'sub with a bidirectional override': claims({ sub: 'casey\u202eadmin' }),
  'roles as text with a line break': claims({ roles: 'investigator\n' }),
  'roles as text without end': claims({ roles: 'investigator '.repeat(316) }),
  'roles as null': claims({ roles: null }),
  'roles as an object': claims({ roles: { investigator: true } }),
  '33 roles': claims({ roles: Array.from({ length: 33 }, (_, index) => `role-${index}`) }),
  'a role that is a number': claims({ roles: ['investigator', 7] }),
  'an empty role': claims({ roles: [''] }),
}

/** The last letter of a 64-byte signature carries two bits that are not part of it. */
function nextLetter(letter: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return alphabet[alphabet.indexOf(letter) + 1] ?? 'A'
}

async function withLooseBits(key: IssuerKey): Promise<string> {
  let payload = JSON.stringify(acceptedClaims())
  while (Buffer.byteLength(payload) % 3 === 0) payload += ' '
  const segment = Buffer.from(payload).toString('base64url')
  const [head] = (await signRaw(key, goodHeader, payload)).split('.')
  const input = `${head}.${segment.slice(0, -1)}${nextLetter(segment.at(-1)!)}`
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key.privateKey, Buffer.from(input))
  return `${input}.${Buffer.from(signature).toString('base64url')}`
}

async function hmacWithPublicKey({ publicJwk }: IssuerKey): Promise<string> {
  const pem = await exportSPKI((await importJWK(publicJwk, 'ES256')) as Parameters<typeof exportSPKI>[0])
  const input = `${base64url({ alg: 'HS256', kid: 'key-1' })}.${base64url(acceptedClaims())}`
  return `${input}.${createHmac('sha256', pem).update(input).digest('base64url')}`
}

t.test('access tokens', async t => {
  const running = await startApp(t)
  const rsaKey = await createIssuerKey('rsa-1', 'RS256')
  const { alg: _, ...openJwk } = rsaKey.publicJwk
  running.jwks.publish(running.key.publicJwk, rsaKey.publicJwk, { ...openJwk, kid: 'rsa-open' })
  const issued: Issued = { key: running.key, rsaKey, strangerKey: await createIssuerKey('stranger') }

  for (const [name, makeHeaders] of Object.entries(accepted)) {
    t.test(`accepted: ${name}`, async t => {
      const reply = await ask(running, await makeHeaders(issued))
      t.equal(reply.status, 200, reply.text)
    })
  }

  const bodies = new Set<string>()
  for (const [name, makeHeaders] of Object.entries(refused)) {
    t.test(`refused: ${name}`, async t => {
      const before = running.calls.length
      const reply = await ask(running, await makeHeaders(issued))
      t.equal(reply.status, 401, reply.text)
      t.equal(reply.headers['www-authenticate'], 'Bearer')
      t.equal(running.calls.length, before, 'no verb was reached')
      bodies.add(reply.text.replace(JSON.parse(reply.text).requestId, ''))
    })
  }
  t.test('every refusal looks the same', async t => {
    t.equal(bodies.size, 1)
    t.match(JSON.parse([...bodies][0]!), { code: 'unauthenticated', detail: undefined })
  })
  t.test('the principal is what was signed, frozen, and without roles it has none', async t => {
    await ask(running, bearer(await signJwt(issued.key, { sub: 'dana', roles: ['auditor'] })))
    const { principal } = running.calls.at(-1)!
    t.strictSame(principal, { issuer, subject: 'dana', roles: ['auditor'] })
    t.ok(Object.isFrozen(principal) && Object.isFrozen(principal.roles))
    await ask(running, bearer(await signJwt(issued.key, { roles: undefined })))
    t.strictSame(running.calls.at(-1)!.principal.roles, [])
  })
  t.test('a refused token is not read further: neither body nor content type matter', async t => {
    const reply = await sendRaw(running.port, 'POST', '/v1/detokenize', ['content-type', 'text/plain'], 'x')
    t.equal(reply.status, 401)
  })
  t.test('the log says why, and holds no token', async t => {
    const logged = running.logged()
    t.match(logged, /"reason":"iat is in the future"/)
    t.match(logged, /"reason":"refused by the JWT library: FST_JWT_AUTHORIZATION_TOKEN_EXPIRED"/)
    t.notMatch(logged, /eyJ/)
  })
})

t.test('every algorithm that can be configured verifies', async t => {
  for (const alg of ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']) {
    const running = await startApp(t, { jwtChange: { algorithms: [alg] } })
    const key = await createIssuerKey('key-of-its-own', alg)
    running.jwks.publish(key.publicJwk)
    t.equal((await ask(running, bearer(await signJwt(key)))).status, 200, alg)
  }
})

t.test('algorithms that share a secret cannot be configured', async t => {
  for (const algorithms of [['HS256'], ['none'], ['ES256', 'HS512'], []]) {
    await t.rejects(startApp(t, { jwtChange: { algorithms } }), { code: 'config_invalid' })
  }
})
