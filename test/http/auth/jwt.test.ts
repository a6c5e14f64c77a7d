import t, { type Test } from 'tap'
import { guardJwt } from '../../../src/http/auth/jwt-guard.ts'
import { type RunningApp, startApp } from '../../helpers/http/http-app.ts'
import { createIssuerKey, issuer, signJwt } from '../../helpers/http/jwks-server.ts'
import { algorithm } from '../../helpers/http/jwt-attacks/algorithm.ts'
import { registeredClaims } from '../../helpers/http/jwt-attacks/claims.ts'
import { credential } from '../../helpers/http/jwt-attacks/credential.ts'
import { encoding } from '../../helpers/http/jwt-attacks/encoding.ts'
import { bearer, type Family, goodHeader, type Issued, issueKeys } from '../../helpers/http/jwt-attacks/forge.ts'
import { joseHeader } from '../../helpers/http/jwt-attacks/header.ts'
import { keyConfusion } from '../../helpers/http/jwt-attacks/key-confusion.ts'
import { kid } from '../../helpers/http/jwt-attacks/kid.ts'
import { roles } from '../../helpers/http/jwt-attacks/roles.ts'
import { time } from '../../helpers/http/jwt-attacks/time.ts'
import { exchange } from '../../helpers/http/raw-http.ts'

/** Every family with how many of its cases pass and how many are refused, so that none is lost unseen. */
const families: Readonly<Record<string, readonly [Family, number, number]>> = {
  algorithm: [algorithm, 3, 73],
  'key confusion': [keyConfusion, 0, 42],
  kid: [kid, 0, 56],
  header: [joseHeader, 8, 61],
  time: [time, 8, 81],
  claims: [registeredClaims, 8, 84],
  roles: [roles, 5, 24],
  encoding: [encoding, 4, 96],
  credential: [credential, 5, 31],
}

/** Headers that differ whatever the request was. */
const differing: ReadonlySet<string> = new Set(['x-request-id', 'date', 'x-ratelimit-remaining', 'x-ratelimit-reset'])

const body = JSON.stringify({ purpose: 'fraud_investigation', tokens: ['ip_v1_AAAA'] })

function ask({ port }: RunningApp, headers: readonly string[]) {
  const lines = Array.from(
    { length: headers.length / 2 },
    (_, pair) => `${headers[2 * pair]}: ${headers[2 * pair + 1]}`,
  )
  const own = ['host: a', 'content-type: application/json', `content-length: ${body.length}`]
  return exchange(port, ['POST /v1/detokenize HTTP/1.1', ...own, ...lines], body)
}

async function startWithKeys(t: Test): Promise<{ running: RunningApp; issued: Issued }> {
  const running = await startApp(t)
  const issued = await issueKeys(running.key)
  const { alg: _1, ...rsaOpen } = issued.rsaKey.publicJwk
  const { alg: _2, use: _3, ...p384Open } = issued.p384Key.publicJwk
  running.jwks.publish(
    ...[issued.key, issued.rsaKey, issued.p384Key, issued.edKey, issued.weakKey].map(({ publicJwk }) => publicJwk),
    { ...rsaOpen, kid: 'rsa-open' },
    { ...p384Open, kid: 'p384-open' },
    { ...issued.encryptionKey.publicJwk, use: 'enc' },
    { kty: 'oct', k: Buffer.from('secret').toString('base64url'), kid: 'oct-1', alg: 'HS256' },
  )
  return { running, issued }
}

t.test('access tokens', async t => {
  const { running, issued } = await startWithKeys(t)
  // What a refusal looks like: status, headers and body, but for the id of the request and the time.
  const looks = new Set<string>()
  for (const [name, [{ accepted, refused }, passing, failing]] of Object.entries(families)) {
    t.test(`${name}: ${passing} accepted, ${failing} refused`, async t => {
      t.comment(`${name}: ${Object.keys(accepted).length} accepted, ${Object.keys(refused).length} refused`)
      t.equal(Object.keys(accepted).length, passing)
      t.equal(Object.keys(refused).length, failing)
      for (const [variant, makeHeaders] of Object.entries(accepted)) {
        const headers = await makeHeaders(issued)
        t.equal((await ask(running, headers)).status, 200, `accepted: ${variant}`)
        // What was verified once is remembered.
        t.equal((await ask(running, headers)).status, 200, `accepted again: ${variant}`)
      }
      const before = running.calls.length
      for (const [attack, makeHeaders] of Object.entries(refused)) {
        const { status, headers, text } = await ask(running, await makeHeaders(issued))
        t.equal(status, 401, `refused: ${attack}`)
        const requestId = String(headers['x-request-id'])
        const others = Object.entries(headers).filter(([name]) => !differing.has(name))
        looks.add(JSON.stringify({ status, headers: others, text: text.replace(requestId, '') }))
      }
      t.equal(running.calls.length, before, 'no refused token reached a verb')
    })
  }

  t.test('every refusal looks the same, to the byte', async t => {
    t.equal(looks.size, 1)
    const [{ headers, text }] = [...looks].map(look => JSON.parse(look)) as [ReturnType<typeof JSON.parse>]
    t.match(JSON.parse(text), { code: 'unauthenticated', detail: undefined, requestId: '' })
    t.match(Object.fromEntries(headers), {
      'www-authenticate': 'Bearer',
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
    })
  })
  t.test('no key was fetched from where a token said, and no guess at a kid caused a fetch of its own', async t => {
    t.equal(running.jwks.fetches(), 1)
  })
  t.test('the principal is what was signed, frozen, and without roles it has none', async t => {
    await ask(running, bearer(await signJwt(issued.key, { sub: 'dana', roles: ['auditor'] })))
    const { principal } = running.calls.at(-1)!
    t.strictSame(principal, { issuer, subject: 'dana', roles: ['auditor'] })
    t.ok(Object.isFrozen(principal) && Object.isFrozen(principal.roles))
    await ask(running, bearer(await signJwt(issued.key, { roles: undefined })))
    t.strictSame(running.calls.at(-1)!.principal.roles, [])
    t.strictSame(Reflect.ownKeys(Object.prototype).includes('roles'), false)
  })
  t.test('a refused token is not read further: neither body nor content type matter', async t => {
    const head = ['POST /v1/detokenize HTTP/1.1', 'host: a', 'content-type: text/plain', 'content-length: 1']
    t.equal((await exchange(running.port, head, 'x')).status, 401)
  })
  t.test('the log says why, and holds no token', async t => {
    const logged = running.logged()
    t.match(logged, /"reason":"iat is in the future"/)
    t.match(logged, /"reason":"refused by the JWT library: FST_JWT_AUTHORIZATION_TOKEN_EXPIRED"/)
    t.notMatch(logged, /eyJ|attacker|UNION|passwd/)
  })
})

t.test('tokens beyond the limit of headers are refused before anything reads them', async t => {
  const { running, issued } = await startWithKeys(t)
  const good = await signJwt(issued.key)
  const deep = Buffer.from(`{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`).toString('base64url')
  const [head, , signature] = good.split('.')
  const attacks = {
    'a token of 1 MB': bearer(`${good}${'A'.repeat(1024 * 1024)}`),
    '50,000 levels of nesting': bearer(`${head}.${deep}.${signature}`),
    '2,000 Authorization headers': Array.from({ length: 2000 }, () => bearer('x')).flat(),
  }
  for (const [name, headers] of Object.entries(attacks)) {
    const { status, text } = await ask(running, headers)
    t.equal(status, 431, name)
    t.equal(text, '', name)
    // The guard would refuse them too, were the limit ever raised.
    t.throws(() => guardJwt(headers, new Set(['ES256'])), { code: 'unauthenticated' })
  }
  for (const bad of ['a\u0000b', 'a\rb', 'a\n b']) {
    const { status } = await ask(running, ['authorization', `Bearer ${good}${bad}`])
    t.equal(status, 400, JSON.stringify(bad))
  }
  t.equal((await ask(running, bearer(good))).status, 200, goodHeader)
  t.equal(running.calls.length, 1)
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
