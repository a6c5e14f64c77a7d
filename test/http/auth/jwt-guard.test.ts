import t from 'tap'
import { VerifiedJwts } from '../../../src/http/auth/jwt-guard.ts'
import { post, startApp } from '../../helpers/http/http-app.ts'
import { createIssuerKey, signJwt } from '../../helpers/http/jwks-server.ts'

const body = { purpose: 'fraud_investigation', tokens: ['ip_v1_token'] }

t.test('a token is accepted again and again, and none that only looks like it', async t => {
  const app = await startApp(t)
  const jwt = await signJwt(app.key)
  for (let time = 0; time < 3; time++) t.equal((await post(app, '/v1/detokenize', body, { jwt })).status, 200)
  const [header, payload, signature = ''] = jwt.split('.')
  const flipped = (signature.startsWith('A') ? 'B' : 'A') + signature.slice(1)
  t.equal((await post(app, '/v1/detokenize', body, { jwt: `${header}.${payload}.${flipped}` })).status, 401)
  const other = await signJwt(await createIssuerKey('key-1'))
  const [, , stranger] = other.split('.')
  t.equal((await post(app, '/v1/detokenize', body, { jwt: `${header}.${payload}.${stranger}` })).status, 401)
  t.equal((await post(app, '/v1/detokenize', body, { jwt: other })).status, 401, 'same kid, key of somebody else')
  const twice = { authorization: `Bearer ${jwt}`, Authorization: `Bearer ${jwt}` }
  t.equal((await post(app, '/v1/detokenize', body, { jwt, headers: twice })).status, 401, 'a repeated header')
})

t.test('the oldest make room, so that no number of tokens fills the memory', t => {
  const verified = new VerifiedJwts()
  const entry = { alg: 'ES256', kid: 'k', pem: 'p', claims: {}, issuer: 'a' }
  for (let index = 0; index <= 1000; index++) verified.add(`jwt-${index}`, entry)
  t.equal(verified.get('jwt-0'), undefined)
  t.equal(verified.get('jwt-1'), entry)
  t.equal(verified.get('jwt-1000'), entry)
  t.end()
})
