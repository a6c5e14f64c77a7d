import t from 'tap'
import { startVaultApi } from '../helpers/http/vault-api.ts'

const policy = `
version: 1
roles:
  administrator: { keys: true }
  investigator: { reveal: { "*": full }, purposes: ["*"] }
`

t.test('who has the capability sees every key and no material; each look and each refusal is an event', async t => {
  const { call, events } = await startVaultApi(t, { policy, originals: 1 })
  const refused = await call({ sub: 'casey', roles: ['investigator'] }, 'GET', '/v1/keys')
  t.match(refused, { status: 403, json: { code: 'role_not_permitted' } })
  const answer = await call({ sub: 'alex', roles: ['administrator'] }, 'GET', '/v1/keys')
  t.equal(answer.status, 200)
  const keys = answer.json['keys'] as Record<string, string>[]
  t.same(
    keys.map(({ key }) => key),
    [
      'audit//v1',
      'data/device_id/v1',
      'data/ip/v1',
      'quarantine//v1',
      'signing//v1',
      'token/device_id/v1',
      'token/ip/v1',
    ],
  )
  for (const key of keys) t.same(Object.keys(key).sort(), ['createdAt', 'kekId', 'key', 'primarySince', 'status'])
  t.match(
    (await events()).map(({ type, subject, decision }) => [type, subject, decision]),
    [
      ['key_list', 'casey', 'refused'],
      ['key_list', 'alex', 'permitted'],
    ],
  )
})
