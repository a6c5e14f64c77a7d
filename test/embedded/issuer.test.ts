import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { calculateJwkThumbprint, createRemoteJWKSet, jwtVerify } from 'jose'
import t, { type Test } from 'tap'
import { embeddedIssuer, signWithDataDir, startIssuer } from '../../src/embedded/issuer.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'

const audience = 'tokenvault'
const claims = { subject: 'ada', roles: ['investigator'], lifetimeSeconds: 600 }

async function start(t: Test, dataDir: string) {
  const issuer = await startIssuer({ dataDir, port: 0, audience })
  t.teardown(issuer.stop)
  return issuer
}

t.test('what it signs verifies against what it publishes', async t => {
  const issuer = await start(t, temporaryDirectory(t))
  const jwt = await issuer.sign(claims)
  const { payload, protectedHeader } = await jwtVerify(jwt, createRemoteJWKSet(new URL(issuer.jwksUrl)), {
    issuer: embeddedIssuer,
    audience,
    algorithms: ['ES256'],
    requiredClaims: ['iss', 'aud', 'sub', 'iat', 'exp', 'jti', 'roles'],
  })
  t.match(payload, { sub: 'ada', roles: ['investigator'], iss: issuer.issuer, aud: audience })
  t.equal((payload.exp ?? 0) - (payload.iat ?? 0), 600)
  const { keys } = (await (await fetch(issuer.jwksUrl)).json()) as { keys: [Record<string, string>] }
  t.equal(protectedHeader.kid, await calculateJwkThumbprint(keys[0]))
})

t.test('publishes no private member, and nothing else at all', async t => {
  const dataDir = temporaryDirectory(t)
  const issuer = await start(t, dataDir)
  const { keys } = (await (await fetch(issuer.jwksUrl)).json()) as { keys: [Record<string, string>] }
  t.strictSame(Object.keys(keys[0]).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
  t.equal((await fetch(new URL('/issuer.jwk', issuer.jwksUrl))).status, 404)
  t.equal((await fetch(issuer.jwksUrl, { method: 'POST' })).status, 404)
  t.equal(statSync(join(dataDir, 'issuer.jwk')).mode & 0o777, 0o600)
})

t.test('a JWT outlives a restart on another port', async t => {
  const dataDir = temporaryDirectory(t)
  const first = await start(t, dataDir)
  const jwt = await first.sign(claims)
  await first.stop()
  const second = await start(t, dataDir)
  await t.resolves(jwtVerify(jwt, createRemoteJWKSet(new URL(second.jwksUrl)), { issuer: embeddedIssuer, audience }))
})

t.test('signs without the issuer running, once there is a key', async t => {
  const dataDir = temporaryDirectory(t)
  await t.rejects(signWithDataDir(dataDir, audience, claims), { code: 'usage', message: /tokenvault up/ })
  const issuer = await start(t, dataDir)
  const jwt = await signWithDataDir(dataDir, audience, claims)
  const { payload } = await jwtVerify(jwt, createRemoteJWKSet(new URL(issuer.jwksUrl)), { issuer: embeddedIssuer })
  t.equal(payload.sub, 'ada')
})

t.test('a damaged key file is refused without a word of it', async t => {
  const dataDir = temporaryDirectory(t)
  await (await start(t, dataDir)).stop()
  const path = join(dataDir, 'issuer.jwk')
  const { d } = JSON.parse(readFileSync(path, 'utf8'))
  writeFileSync(path, readFileSync(path, 'utf8').slice(0, -2))
  const error = await startIssuer({ dataDir, port: 0, audience }).catch(error => error)
  t.equal(error.code, 'embedded_failed')
  t.notMatch(String(error.stack), d)
})

t.test('a taken port is named', async t => {
  const { port } = await start(t, temporaryDirectory(t))
  await t.rejects(startIssuer({ dataDir: temporaryDirectory(t), port, audience }), { code: 'port_unavailable' })
})
