import t from 'tap'
import { TokenvaultError } from '../../../src/errors.ts'
import type { Principal } from '../../../src/vault/admission/ports.ts'
import { generateKey } from '../../../src/vault/keys/keyset.ts'
import type { TokenizeResult } from '../../../src/vault/tokens/tokenize.ts'
import { createWorld, freshKeys, investigator, parsePolicy, withStatus } from '../../helpers/vault/vault-world.ts'

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

t.test(
  'a look-up answers the token of every version that is in use, the primary one first; storing does not',
  async t => {
    const first = freshKeys()
    const tokens = createWorld(first).store('ip', ['203.0.113.7'])
    const isIp = ({ purpose, field }: (typeof first)[number]) => purpose === 'token' && field === 'ip'
    const second = generateKey({ purpose: 'token', field: 'ip', version: 2 }, 'primary')
    const rotated = [...withStatus(first, key => (isIp(key) ? 'active' : key.status)), second]
    const world = createWorld(rotated)
    const asked = { ...request, values: [ip('203.0.113.7'), { field: 'device_id', value: 'Pixel' }] }
    const [found, device] = itemsOf(await world.tokenize(investigator, asked))
    t.match(found, { token: /^ip_v2_/ })
    t.strictSame('others' in found! && found.others, [{ token: tokens[0], keyVersion: 1 }])
    t.notOk('others' in device!, 'a key that was never rotated has no others')
    t.equal(world.audit.events[0]!.granted, 2, 'charged and told as one value each')
    const disabled = withStatus(rotated, key => (isIp(key) && key.version === 1 ? 'disabled' : key.status))
    const [alone] = itemsOf(await createWorld(disabled).tokenize(investigator, asked))
    t.notOk('others' in alone!, 'nor is a disabled key used')
  },
)

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

const service: Principal = { ...investigator, roles: ['service'] }
const storing = parsePolicy(`
version: 1
roles:
  service: { store: [ip, device_id], purposes: ["*"], budget: { per_minute: 3 } }
`)

t.test('originals are committed after their event, and never without it', async t => {
  const { tokenize, audit, originals } = createWorld(undefined, { policy: storing })
  const order: string[] = []
  const { commit } = audit
  audit.commit = async action => {
    order.push(`event while ${originals.told.at(-1)}`)
    return commit(action)
  }
  const result = await tokenize(service, { ...request, values: [ip('203.0.113.7'), ip('203.0.113.7')], store: true })
  t.match(result, { outcome: 'complete', stored: true, items: [{ token: /^ip_v1_/ }, { token: /^ip_v1_/ }] })
  t.strictSame(order, ['event while inserted'])
  t.strictSame(originals.told, ['inserted', 'committed'])
  t.equal(originals.rows.size, 1)
  t.match(audit.actions, [{ charge: { values: 1, perMinute: 3 } }], 'charged as a look-up is')
})

t.test('an event that is refused, or fails, stores nothing', async t => {
  const { tokenize, audit, originals } = createWorld(undefined, { policy: storing })
  const call = { ...request, values: [ip('203.0.113.7')], store: true }
  audit.admission = { allowed: false, code: 'budget_exceeded', window: 'minute', retryAfterSeconds: 5 }
  await t.rejects(tokenize(service, call), { code: 'budget_exceeded' })
  audit.commit = () => Promise.reject(new Error('disk full'))
  await t.rejects(tokenize(service, call), { code: 'audit_unavailable' })
  t.strictSame(originals.told, ['inserted', 'abandoned', 'inserted', 'abandoned'])
  t.equal(originals.rows.size, 0)
})

t.test('originals that cannot be inserted leave no event, and those that cannot be committed no reply', async t => {
  const { tokenize, audit, originals } = createWorld(undefined, { policy: storing })
  const call = { ...request, values: [ip('203.0.113.7')], store: true }
  const unavailable = new TokenvaultError('store_unavailable')
  const { insert } = originals
  originals.insert = () => Promise.reject(unavailable)
  await t.rejects(tokenize(service, call), { code: 'store_unavailable' })
  t.strictSame(audit.events, [])
  originals.insert = async () => ({ commit: () => Promise.reject(unavailable), abandon: async () => {} })
  await t.rejects(tokenize(service, call), { code: 'store_unavailable' })
  t.match(audit.events, [{ mode: 'store', decision: 'permitted', granted: 1 }])
  originals.insert = insert
  t.match(await tokenize(service, call), { stored: true }, 'the same call heals it')
  t.equal(originals.rows.size, 1)
})

t.test('a call of which no item can be stored asks the store for nothing, and is an event', async t => {
  const { tokenize, audit, originals } = createWorld(undefined, { policy: storing })
  const values = [ip('nowhere'), { field: 'email', value: 'a@example.org' }]
  t.match(await tokenize(service, { ...request, values, store: true }), { outcome: 'complete', stored: true })
  await tokenize(service, { ...request, values: [...values, ip('203.0.113.7')], store: true, atomic: true })
  t.strictSame(originals.told, [])
  t.match(audit.events, [
    { mode: 'store', decision: 'permitted', granted: 0, withheld: { value_invalid: 1, field_not_permitted: 1 } },
    { mode: 'store', decision: 'refused', code: 'batch_refused', granted: 0, tokens: [] },
  ])
})

t.test('an original that was stored opens as the value that was stored', async t => {
  const policy = parsePolicy(`
version: 1
roles:
  service: { store: ["*"], store_by_default: true, purposes: ["*"] }
  investigator: { reveal: { "*": full }, purposes: ["*"] }
`)
  const { tokenize, detokenize } = createWorld(undefined, { policy })
  const values = [
    ip('2001:DB8::1'),
    { field: 'device_id', value: ' Pixel 9 ' },
    { field: 'email', value: 'ä@example.org' },
  ]
  const items = itemsOf(await tokenize(service, { ...request, values }))
  const tokens = items.map(item => ('token' in item ? item.token : ''))
  const found = await detokenize(investigator, { ...request, tokens, atomic: true })
  t.match(found, { items: [{ value: '2001:db8::1' }, { value: 'Pixel 9' }, { value: 'ä@example.org' }] })
})
