import t from 'tap'
import type { Principal } from '../../../src/vault/admission/ports.ts'
import { generateKey } from '../../../src/vault/keys/keyset.ts'
import type { TokenizeResult } from '../../../src/vault/tokens/tokenize.ts'
import { createWorld, freshKeys, investigator, withStatus } from '../../helpers/vault/vault-world.ts'

const request = { requestId: 'request-1', purpose: 'fraud_investigation' }
const ip = (value: string) => ({ field: 'ip', value })

function itemsOf(result: TokenizeResult) {
  if (result.outcome !== 'complete') throw new Error('the call was refused')
  return result.items
}

t.test('each value is answered in its place, and no answer repeats a value', async t => {
  const { tokenize, store, audit } = createWorld()
  const [ipToken, deviceToken] = [store('ip', ['203.0.113.7'])[0]!, store('device_id', ['Pixel'])[0]!]
  const result = await tokenize(investigator, {
    ...request,
    values: [
      ip(' ::FFFF:203.0.113.7 '),
      ip('nowhere'),
      { field: 'device_id', value: 'Pixel' },
      { field: 'email', value: 'a@example.org' },
      { field: 'phone', value: '+1 555 0100' },
      { field: '__proto__', value: 'x' },
      { field: 'device_id', value: 'x'.repeat(141) },
      { field: 'device_id', value: ipToken },
      ip(' ::ffff:0.0.0.0'),
      { field: 'device_id', value: 'Unknown' },
      ip('203.0.113.7'),
    ],
  })
  t.same(itemsOf(result), [
    { field: 'ip', token: ipToken },
    { field: 'ip', error: { code: 'value_invalid' } },
    { field: 'device_id', token: deviceToken },
    { field: 'email', error: { code: 'field_not_permitted' } },
    { field: 'phone', error: { code: 'field_unknown' } },
    { field: '__proto__', error: { code: 'field_unknown' } },
    { field: 'device_id', error: { code: 'value_too_long' } },
    { field: 'device_id', error: { code: 'value_is_token' } },
    { field: 'ip', error: { code: 'value_is_placeholder' } },
    { field: 'device_id', error: { code: 'value_is_placeholder' } },
    { field: 'ip', token: ipToken },
  ])
  t.match(audit.events, [
    {
      type: 'tokenize',
      decision: 'permitted',
      requested: 11,
      granted: 3,
      fields: {
        ip: { requested: 4, granted: 2, level: 'full' },
        device_id: { requested: 4, granted: 1, level: 'full' },
        email: { requested: 1, granted: 0, level: 'none' },
      },
      mode: 'look_up',
      tokens: { length: 2 },
      withheld: {
        value_invalid: 1,
        field_not_permitted: 1,
        field_unknown: 2,
        value_too_long: 1,
        value_is_token: 1,
        value_is_placeholder: 2,
      },
    },
  ])
  t.strictSame(Object.keys(audit.events[0]!.fields!), ['ip', 'device_id', 'email'], 'no name that a caller made up')
  t.notMatch(
    JSON.stringify(audit.events),
    /203\.0|Pixel|example|555 0100|(ip|device_id)_v1_/,
    'the event holds no value and no token',
  )
})

t.test('it stores nothing and looks nothing up', async t => {
  const { tokenize, originals } = createWorld()
  await tokenize(investigator, { ...request, values: [ip('203.0.113.7')] })
  t.equal(originals.rows.size, 0)
  t.same(originals.asked, [])
})

t.test('new tokens are made under the primary key, not under the first', async t => {
  const keys = [
    ...withStatus(freshKeys(), key => (key.purpose === 'token' && key.field === 'ip' ? 'active' : key.status)),
  ]
  keys.push(generateKey({ purpose: 'token', field: 'ip', version: 2 }, 'primary'))
  const result = await createWorld(keys).tokenize(investigator, { ...request, values: [ip('203.0.113.7')] })
  t.match(itemsOf(result), [{ token: /^ip_v2_/ }])
})

t.test('whoever may not tokenize is refused, and that is on record', async t => {
  for (const roles of [['analyst'], ['auditor'], [], ['__proto__']]) {
    const { tokenize, audit } = createWorld()
    const principal: Principal = { ...investigator, roles }
    await t.rejects(tokenize(principal, { ...request, values: [ip('203.0.113.7')] }), { code: 'role_not_permitted' })
    t.match(audit.events, [
      { type: 'tokenize', decision: 'refused', code: 'role_not_permitted', requested: 1, granted: 0, roles },
    ])
  }
})

t.test('a call without purpose, without values or with too many is refused', async t => {
  const { tokenize } = createWorld()
  const values = [ip('203.0.113.7')]
  await t.rejects(tokenize(investigator, { ...request, purpose: '', values }), { code: 'purpose_missing' })
  await t.rejects(tokenize(investigator, { ...request, purpose: 'Why not', values }), { code: 'purpose_invalid' })
  await t.rejects(tokenize(investigator, { ...request, values: [] }), { code: 'batch_empty' })
  const many = Array.from({ length: 10_001 }, (_, index) => ip(`10.0.${index >> 8}.${index & 255}`))
  await t.rejects(tokenize(investigator, { ...request, values: many }), { code: 'batch_too_large' })
  const result = await tokenize(investigator, { ...request, values: many.slice(1) })
  t.equal(new Set(itemsOf(result).map(item => ('token' in item ? item.token : ''))).size, 10_000)
})

t.test('no audit event, no tokens', async t => {
  const { tokenize, audit } = createWorld()
  audit.commit = () => Promise.reject(new Error('disk full'))
  const values = [ip('203.0.113.7')]
  await t.rejects(tokenize(investigator, { ...request, values }), { code: 'audit_unavailable' })
  const analyst = { ...investigator, roles: ['analyst'] }
  await t.rejects(tokenize(analyst, { ...request, values }), { code: 'audit_unavailable' }, 'nor a refusal without one')
})
