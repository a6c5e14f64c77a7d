import t, { type Test } from 'tap'
import { post, startApp } from '../../helpers/http/http-app.ts'
import { createIssuerKey, type IssuerKey, signJwt, startJwksServer } from '../../helpers/http/jwks-server.ts'

const request = { purpose: 'fraud_investigation', tokens: ['ip_v1_AAAA'] }
const other = 'https://other.test'

/** Two issuers that use the same kid. */
async function build(t: Test, settings: object = {}) {
  const key = await createIssuerKey('key-1')
  const jwks = await startJwksServer(t, key.publicJwk)
  const running = await startApp(t, {
    otherIssuers: [{ issuer: other, jwksUrl: jwks.url, audiences: ['other-api'], ...settings }],
  })
  const ask = async (signer: IssuerKey, claims: object = {}, header: object = {}) => {
    const jwt = await signJwt(signer, { ...claims }, { ...header })
    const { status } = await post(running, '/v1/detokenize', request, { jwt })
    return status === 200 ? running.calls.at(-1)!.principal : status
  }
  const ofOther = { iss: other, aud: 'other-api' }
  return { running, key, jwks, ask, ofOther }
}

t.test('each issuer is checked by its own keys, audiences and settings, whatever its kids are', async t => {
  const { running, key, ask, ofOther } = await build(t, {
    maxLifetimeSeconds: 300,
    typ: 'at+jwt',
    algorithms: ['ES256'],
  })
  const now = Math.floor(Date.now() / 1000)
  const short = { ...ofOther, exp: now + 200 }
  const typ = { typ: 'at+jwt' }
  t.match(await ask(running.key), { issuer: 'https://issuer.test', subject: 'casey' })
  t.match(await ask(key, short, typ), { issuer: other, subject: 'casey', roles: ['investigator'] })
  t.equal(await ask(running.key, short, typ), 401, 'signed by the key of the one, in the name of the other')
  t.equal(await ask(key), 401, 'and the other way round')
  t.equal(await ask(key, { ...short, aud: 'tokenvault' }, typ), 401, 'an audience of the one alone')
  t.equal(await ask(running.key, { aud: 'other-api' }), 401)
  t.equal(await ask(key, { ...short, exp: now + 600 }, typ), 401, 'a lifetime of the one alone')
  t.equal(await ask(key, short), 401, 'a typ of the one alone')
  t.match(await ask(key, short, typ), { issuer: other }, 'a second time, from memory')
  for (const iss of [undefined, 'https://third.test', `${other}/`, other.toUpperCase(), [other], null])
    t.equal(await ask(key, { ...short, iss }, typ), 401, JSON.stringify(iss))
  for (const reason of ['missing', 'mismatch', 'malformed'])
    t.match(running.logged(), `"claim":"iss","reason":"${reason}"`)
})

t.test('an issuer that is away keeps nobody else out', async t => {
  const { running, key, jwks, ask, ofOther } = await build(t)
  jwks.setDown(true)
  t.equal(await ask(key, ofOther), 503)
  t.match(await ask(running.key), { subject: 'casey' })
  jwks.setDown(false)
  running.jwks.setDown(true)
  t.match(await ask(key, ofOther), { issuer: other })
  t.match(await ask(running.key), { subject: 'casey' }, 'by the keys that are known')
})

t.test('claims, roles and names are those that are configured for the issuer', async t => {
  const { key, running, ask, ofOther } = await build(t, {
    ...{ subjectClaim: 'oid', rolesClaims: ['groups'], roles: ['support'], knownAs: 'https://issuer.test' },
  })
  const claims = { ...ofOther, oid: 'Casey-1', groups: ['support', 'investigator'], roles: ['auditor'] }
  t.match(await ask(key, claims), { issuer: 'https://issuer.test', subject: 'Casey-1', roles: ['support'] })
  t.equal(await ask(key, { ...claims, oid: undefined }), 401)
  t.match(running.logged(), '"claim":"oid","reason":"missing"')
  t.match(await ask(running.key, { oid: 'x', groups: ['support'] }), { subject: 'casey', roles: ['investigator'] })
})

t.test('a token without kid is accepted where exactly one key fits its algorithm', async t => {
  const { running, ask } = await build(t)
  const rsa = await createIssuerKey('rsa-1', 'RS256')
  const [second, open] = [await createIssuerKey('key-2'), await createIssuerKey('rsa-2', 'RS256')]
  const { alg: _, ...anyRsa } = open.publicJwk
  const { kid: __, ...nameless } = running.key.publicJwk
  const encrypting = { ...second.publicJwk, use: 'enc' }
  const cases = [
    ['one key', running.key, [running.key.publicJwk], 200],
    ['a key that has no kid itself', running.key, [nameless], 200],
    ['one of its algorithm among others', rsa, [running.key.publicJwk, rsa.publicJwk], 200],
    ['one beside a key for encryption', running.key, [running.key.publicJwk, encrypting], 200],
    ['two of its algorithm', running.key, [running.key.publicJwk, second.publicJwk], 401, 'ambiguous'],
    ['one, and one that may be of any', rsa, [rsa.publicJwk, anyRsa], 401, 'ambiguous'],
    ['none of its algorithm', rsa, [running.key.publicJwk], 401, 'unknown'],
    ['one, which did not sign it', second, [running.key.publicJwk], 401, 'signature_invalid'],
  ] as const
  for (const [title, signer, published, expected, reason] of cases) {
    const jwks = await startJwksServer(t, ...published)
    const app = await startApp(t, { jwtChange: { jwksUrl: jwks.url } })
    const jwt = await signJwt(signer, {}, { kid: undefined })
    t.equal((await post(app, '/v1/detokenize', request, { jwt })).status, expected, title)
    if (reason !== undefined) t.match(app.logged(), `"reason":"${reason}"`, title)
  }
  for (const kid of ['', ' ', 7, null]) t.equal(await ask(running.key, {}, { kid }), 401, JSON.stringify(kid))
})
