import { generateKeyPairSync } from 'node:crypto'
import type { JWK } from 'jose'
import t from 'tap'
import { post, startApp } from '../../helpers/http/http-app.ts'
import { createIssuerKey, signJwt } from '../../helpers/http/jwks-server.ts'

const request = { purpose: 'fraud_investigation', tokens: ['ip_v1_AAAA'] }
const path = '/v1/detokenize'

t.test('100 requests with unknown kids cause at most one fetch', async t => {
  const running = await startApp(t)
  const jwts = await Promise.all(
    Array.from({ length: 100 }, (_, index) => signJwt(running.key, {}, { kid: `guess-${index}` })),
  )
  for (const jwt of jwts) t.equal((await post(running, path, request, { jwt })).status, 401)
  t.equal(running.jwks.fetches(), 1)
})

t.test('100 requests at once on a cold start cause one fetch', async t => {
  const running = await startApp(t)
  const jwt = await signJwt(running.key)
  const replies = await Promise.all(Array.from({ length: 100 }, () => post(running, path, request, { jwt })))
  t.ok(replies.every(({ status }) => status === 200))
  t.equal(running.jwks.fetches(), 1)
})

t.test('key rotation: the new key works at once, the withdrawn one no more', async t => {
  const running = await startApp(t, { jwtChange: { jwksCooldown: { unknownKidSeconds: 0, failureSeconds: 0 } } })
  t.equal((await post(running, path, request)).status, 200)
  const next = await createIssuerKey('key-2')
  running.jwks.publish(next.publicJwk)
  t.equal((await post(running, path, request, { jwt: await signJwt(next) })).status, 200)
  t.equal((await post(running, path, request)).status, 401, 'the old key left the set')
})

t.test('a key under the same kid with other bytes is the one that counts', async t => {
  const running = await startApp(t, { jwtChange: { jwksCooldown: { unknownKidSeconds: 0, failureSeconds: 0 } } })
  t.equal((await post(running, path, request)).status, 200)
  const replaced = await createIssuerKey('key-1')
  running.jwks.publish(replaced.publicJwk)
  await post(running, path, request, { jwt: await signJwt(replaced, {}, { kid: 'causes-a-fetch' }) })
  t.equal((await post(running, path, request)).status, 401)
  t.equal((await post(running, path, request, { jwt: await signJwt(replaced) })).status, 200)
})

t.test('an issuer that does not answer gives 503, and all is well once it does', async t => {
  const running = await startApp(t)
  running.jwks.setDown(true)
  const reply = await post(running, path, request)
  t.equal(reply.status, 503)
  t.match(await reply.json(), { code: 'jwks_unavailable', detail: undefined })
  t.ok(reply.headers.get('retry-after'))
  running.jwks.setDown(false)
  t.equal((await post(running, path, request)).status, 200)
  running.jwks.setDown(true)
  t.equal((await post(running, path, request)).status, 200, 'known keys need no fetch')
  t.equal(running.calls.length, 2)
})

t.test('an issuer that is down is not called again at once', async t => {
  const running = await startApp(t, { jwtChange: { jwksCooldown: { unknownKidSeconds: 30, failureSeconds: 30 } } })
  running.jwks.setDown(true)
  for (let attempt = 0; attempt < 20; attempt++) t.equal((await post(running, path, request)).status, 503)
  t.equal(running.jwks.fetches(), 1)
})

t.test('what is no JWK Set, a symmetric key or a short RSA key verifies nothing', async t => {
  const running = await startApp(t, { jwtChange: { jwksCooldown: { unknownKidSeconds: 0, failureSeconds: 0 } } })
  running.jwks.publish({ kty: 'oct', k: 'c2VjcmV0', kid: 'key-1', alg: 'HS256' })
  t.equal((await post(running, path, request)).status, 401)
  running.jwks.publish('no key' as never)
  t.equal((await post(running, path, request)).status, 503)
  const short = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' })
  running.jwks.publish({ ...short, kid: 'short', alg: 'RS256' } as JWK, running.key.publicJwk)
  const claim = await signJwt(await createIssuerKey('short', 'RS256'))
  t.equal((await post(running, path, request, { jwt: claim })).status, 401)
  t.match(running.logged(), /"parameter":"kid","reason":"key_too_weak"/)
  t.equal((await post(running, path, request)).status, 200, 'its neighbour is well')
  running.jwks.publish(running.key.publicJwk, running.key.publicJwk)
  await post(running, path, request, { jwt: await signJwt(running.key, {}, { kid: 'causes-a-fetch' }) })
  t.equal((await post(running, path, request)).status, 401, 'one kid, two keys')
})
