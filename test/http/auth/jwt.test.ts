import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { guardJwt, refusalReasons } from '../../../src/http/auth/jwt-guard.ts'
import { type RunningApp, startApp } from '../../helpers/http/http-app.ts'
import { createIssuerKey, issuer, nowSeconds, signJwt } from '../../helpers/http/jwks-server.ts'
import { algorithm } from '../../helpers/http/jwt-attacks/algorithm.ts'
import { registeredClaims } from '../../helpers/http/jwt-attacks/claims.ts'
import { credential } from '../../helpers/http/jwt-attacks/credential.ts'
import { encoding } from '../../helpers/http/jwt-attacks/encoding.ts'
import {
  base64url,
  bearer,
  claims,
  compact,
  type Family,
  goodHeader,
  goodPayload,
  header,
  type Issued,
  issueKeys,
  rsa,
} from '../../helpers/http/jwt-attacks/forge.ts'
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
  kid: [kid, 1, 56],
  header: [joseHeader, 18, 55],
  time: [time, 12, 80],
  claims: [registeredClaims, 9, 90],
  roles: [roles, 22, 2],
  encoding: [encoding, 5, 96],
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
    t.strictSame(principal, { issuer, subject: 'dana', roles: ['auditor'], channel: 'http' })
    t.ok(Object.isFrozen(principal) && Object.isFrozen(principal.roles))
    await ask(running, bearer(await signJwt(issued.key, { roles: undefined })))
    t.strictSame(running.calls.at(-1)!.principal.roles, [])
    t.strictSame(Reflect.ownKeys(Object.prototype).includes('roles'), false)
  })
  t.test('a refused token is not read further: neither body nor content type matter', async t => {
    const head = ['POST /v1/detokenize HTTP/1.1', 'host: a', 'content-type: text/plain', 'content-length: 1']
    t.equal((await exchange(running.port, head, 'x')).status, 401)
  })
  t.test('the log holds no token, and nothing that a token says', async t => {
    t.notMatch(running.logged(), /eyJ|attacker|UNION|passwd/)
  })
})

t.test('the log names the claim or parameter and the kind of fault; the reply says nothing of it', async t => {
  const { running, issued } = await startWithKeys(t)
  const now = nowSeconds()
  const value = 'canary-of-the-caller'
  const withClaims = (change: Record<string, unknown>) => claims(change)(issued)
  const withHeader = (change: Record<string, unknown>) => header(change)(issued)
  const good = await signJwt(issued.key)
  const [head, payload, signature] = good.split('.') as [string, string, string]
  const weak = compact('{"alg":"RS256","kid":"rsa-weak"}', goodPayload(), rsa(issued.weakKey))
  const cases: readonly (readonly [string, Promise<readonly string[]> | readonly string[]])[] = [
    ['reason=authorization_missing', []],
    ['reason=authorization_repeated', [...bearer(good), ...bearer(value)]],
    ['reason=authorization_malformed', ['authorization', value]],
    ['reason=jwt_too_long', bearer(`${good}${'A'.repeat(16_384)}`)],
    ['reason=header_malformed', bearer(`${base64url('[]')}.${payload}.${signature}`)],
    ['reason=payload_malformed', bearer(`${head}.${base64url('{')}.${signature}`)],
    ['reason=signature_malformed', bearer(`${good}AAA`)],
    ['reason=signature_invalid', bearer(`${head}.${base64url(goodPayload({ sub: value }))}.${signature}`)],
    ...(['crit', 'jku', 'jwk', 'x5u', 'x5c', 'b64', 'zip'] as const).map(
      name => [`parameter=${name} reason=not_accepted`, withHeader({ [name]: value })] as const,
    ),
    ['parameter=alg reason=missing', withHeader({ alg: undefined })],
    ['parameter=alg reason=not_accepted', withHeader({ alg: value })],
    ['parameter=typ reason=not_accepted', withHeader({ typ: value })],
    ['parameter=kid reason=ambiguous', bearer(compact('{"alg":"RS256"}', goodPayload(), rsa(issued.rsaKey)))],
    ['parameter=kid reason=malformed', withHeader({ kid: `${value} ` })],
    ['parameter=kid reason=unknown', withHeader({ kid: value })],
    ['parameter=kid reason=key_too_weak', bearer(weak)],
    ...['iss', 'aud', 'sub', 'exp', 'iat'].map(
      name => [`claim=${name} reason=missing`, withClaims({ [name]: undefined })] as const,
    ),
    ...['iss', 'aud', 'sub', 'exp', 'iat', 'nbf'].map(
      name => [`claim=${name} reason=malformed`, withClaims({ [name]: { value } })] as const,
    ),
    ['claim=iss reason=mismatch', withClaims({ iss: value })],
    ['claim=aud reason=mismatch', withClaims({ aud: value })],
    ['claim=exp reason=expired', withClaims({ iat: now - 700, exp: now - 100 })],
    ['claim=nbf reason=in_future', withClaims({ nbf: now + 100 })],
    ['claim=iat reason=in_future', withClaims({ iat: now + 100 })],
    ['claim=exp reason=before_iat', withClaims({ iat: now, exp: now - 1 })],
    ['claim=exp reason=lifetime_over_JWT_MAX_LIFETIME_SECONDS', withClaims({ exp: now + 86_400 })],
  ]
  const told = new Set<string>()
  const replies = new Set<string>()
  for (const [expected, headers] of cases) {
    const { status, headers: replied, text } = await ask(running, await headers)
    const requestId = String(replied['x-request-id'])
    const lines = running
      .logged()
      .split('\n')
      .filter(line => line.includes(requestId))
    t.equal(lines.length, 1, `one line for ${expected}`)
    const { claim, parameter, reason, code } = JSON.parse(lines[0]!)
    const place = claim === undefined ? (parameter === undefined ? [] : [`parameter=${parameter}`]) : [`claim=${claim}`]
    t.strictSame([status, code, [...place, `reason=${reason}`].join(' ')], [401, 'unauthenticated', expected])
    told.add(reason)
    replies.add(text.replace(requestId, ''))
  }
  t.equal(replies.size, 1, 'every reply is the same')
  t.notMatch(running.logged(), /canary|eyJ/)
  // Asked where a key cannot be imported.
  const elsewhere = ['key_unusable']
  t.strictSame([...told, ...elsewhere].sort(), [...refusalReasons].sort(), 'no reason is left out')
  const page = readFileSync(new URL('../../../docs/production.md', import.meta.url), 'utf8')
  for (const reason of refusalReasons) t.ok(page.includes(`\`${reason}\``), `docs/production.md explains ${reason}`)
})

t.test('where at+jwt is required, a token has to say that it is an access token', async t => {
  const running = await startApp(t, { jwtChange: { typ: 'at+jwt' } })
  for (const typ of ['at+jwt', 'AT+JWT', 'application/at+jwt'])
    t.equal((await ask(running, bearer(await signJwt(running.key, {}, { typ })))).status, 200, typ)
  for (const typ of ['JWT', 'application/jwt', undefined, null, ''])
    t.equal((await ask(running, bearer(await signJwt(running.key, {}, { typ })))).status, 401, String(typ))
  t.match(running.logged(), /"parameter":"typ","reason":"missing"/)
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
    t.match(JSON.parse(text), { code: 'headers_too_large' }, name)
    // The guard would refuse them too, were the limit ever raised.
    t.throws(() => guardJwt(headers, () => ({ algorithms: new Set(['ES256']), typ: 'any' })), {
      code: 'unauthenticated',
    })
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
