import { randomInt } from 'node:crypto'
import t from 'tap'
import { isRest, parseTypedToken } from '../../../src/crypto/typed-token.ts'
import { describeApproval } from '../../../src/vault/admission/approval-request.ts'
import { acceptValue, createFieldSchema } from '../../../src/vault/fields/fields.ts'
import { readToken, type TokenItem } from '../../../src/vault/tokens/read-token.ts'
import { everyBitFlipped } from '../../helpers/crypto/bytes.ts'
import { createWorld, investigator, tokenized, worldPolicy } from '../../helpers/vault/vault-world.ts'

const request = { requestId: 'request-1', purpose: 'fraud_investigation', atomic: false }

/** The three fields of the world, two of them permitted; `email` has typed tokens, too, and no role may reveal it. */
const fields = createFieldSchema([
  { name: 'ip', rule: 'ip.v1', column: 'masked_ip', format: 'inet' },
  { name: 'device_id', rule: 'device_id.v1', column: 'masked_device_id', format: 'uuid' },
  { name: 'email', rule: 'device_id.v1', column: 'masked_email', format: 'uuid' },
])
/** The same with one that is text. */
const mixed = createFieldSchema([{ name: 'ip', rule: 'ip.v1', column: 'masked_ip' }, ...[...fields.values()].slice(1)])

type World = ReturnType<typeof createWorld>
const newWorld = (of = fields) => createWorld(undefined, { fields: of })

/** The code, or the value, of each item. */
async function answers(world: World, tokens: readonly TokenItem[]): Promise<string[]> {
  const result = await world.detokenize(investigator, { ...request, tokens })
  if (result.outcome !== 'complete') return [result.outcome]
  return result.items.map(item => ('value' in item ? item.value : item.error.code))
}

t.test('tokens that are addresses and UUIDs are given back by field, each item echoed as it was sent', async t => {
  const world = newWorld()
  const [ip] = world.store('ip', ['203.0.113.7']) as [string]
  const [device] = world.store('device_id', ['593-47-1']) as [string]
  t.match(
    [ip, device].map(token => parseTypedToken(token)?.format),
    ['inet', 'uuid'],
  )
  const tokens = [
    { field: 'device_id', token: device },
    { field: 'ip', token: ip },
    { field: 'ip', token: `${ip}/128` },
  ]
  t.match(await world.detokenize(investigator, { ...request, tokens }), {
    items: [
      { ...tokens[0], value: '593-47-1' },
      { ...tokens[1], value: '203.0.113.7' },
      { ...tokens[2], value: '203.0.113.7' },
    ],
  })
  const [event] = world.audit.events
  const names = [`device_id ${device}`, `ip ${ip}`]
  t.same(event!.tokens, world.fieldKeys.digest.digest(names), 'two spellings of one token are one')
  t.equal(world.audit.actions[0]!.charge?.values, 2, 'and are charged once')
  t.match(event!.fields, { ip: { requested: 2, granted: 2 }, device_id: { requested: 1, granted: 1 } })

  const looked = await world.tokenize(investigator, {
    ...request,
    values: [
      { field: 'ip', value: '::ffff:203.0.113.7' },
      { field: 'device_id', value: '593-47-1' },
    ],
  })
  t.match(looked, {
    items: [
      { field: 'ip', token: ip },
      { field: 'device_id', token: device },
    ],
  })
  t.same(world.audit.events[1]!.tokens, world.fieldKeys.digest.digest(names.toReversed()), 'a search finds both')
})

t.test('each way to be wrong has a code of its own and leaves its neighbours alone', async t => {
  const world = newWorld(mixed)
  const [ip] = world.store('ip', ['203.0.113.7']) as [string]
  const [device, other] = world.store('device_id', ['593-47-1', '593-47-2']) as [string, string]
  const [email] = world.store('email', ['a@example.org']) as [string]
  world.originals.rows.delete(other.replaceAll('-', ''))
  const address = 'fde1:cfab:3892:9ebc:a82b:b68c:f8b:8b0e'
  const items: readonly (readonly [item: TokenItem, answer: string])[] = [
    [{ field: 'device_id', token: device }, '593-47-1'],
    [{ field: 'ip', token: ip }, '203.0.113.7'],
    [device, 'token_field_missing'],
    [address, 'token_field_missing'],
    [{ field: 'nothing', token: device }, 'token_unknown'],
    [{ field: '__proto__', token: device }, 'token_unknown'],
    [{ field: 'nothing', token: address }, 'token_unknown'],
    [{ field: 'ip', token: device }, 'token_unknown'],
    [{ field: 'device_id', token: address }, 'token_unknown'],
    [{ field: 'device_id', token: other }, 'token_unknown'],
    [{ field: 'device_id', token: ip }, 'token_field_mismatch'],
    [{ field: 'nothing', token: ip }, 'token_field_mismatch'],
    [{ field: 'nothing', token: ip.replace('ip', 'nothing') }, 'field_unknown'],
    [`device_id_v1_${ip.slice('ip_v1_'.length)}`, 'token_unknown'],
    [{ field: 'device_id', token: device.toUpperCase() }, 'token_malformed'],
    [{ field: 'device_id', token: `${device.slice(0, 14)}4${device.slice(15)}` }, 'token_malformed'],
    [{ field: 'device_id', token: '' }, 'token_malformed'],
    [{ field: 'email', token: email }, 'field_not_permitted'],
    [{ field: 'email', token: device }, 'field_not_permitted'],
    [{ field: 'email', token: address }, 'field_not_permitted'],
    [{ field: 'device_id', token: email }, 'token_unknown'],
  ]
  const found = await answers(
    world,
    items.map(([item]) => item),
  )
  for (const [index, [item, answer]] of items.entries()) t.equal(found[index], answer, JSON.stringify(item))
  const { withheld } = world.audit.events[0]!
  t.match(withheld, { token_field_missing: 2, field_not_permitted: 3 })
})

t.test('an address in another network than that of its field is not its token', async t => {
  const inFc00 = createFieldSchema([
    { name: 'ip', rule: 'ip.v1', column: 'masked_ip', format: 'inet', inetPrefix: 'fc00::/8' },
    ...[...fields.values()].slice(1),
  ])
  const world = newWorld(inFc00)
  const [token] = world.store('ip', ['203.0.113.7']) as [string]
  t.match(token, /^fc/)
  const items = [token, token.replace(/^fc/, 'fd')].map(token => ({ field: 'ip', token }))
  t.same(await answers(world, items), ['203.0.113.7', 'token_malformed'])
})

t.test('what a caller may not reveal is not looked up, and as many ids are asked for as there are tokens', async t => {
  const world = newWorld()
  const [email] = world.store('email', ['a@example.org']) as [string]
  const tokens = [
    { field: 'email', token: email },
    email,
    { field: 'nothing', token: email },
    { field: 'ip', token: email },
  ]
  await answers(world, tokens)
  t.equal(world.originals.asked.length, tokens.length)
  t.notOk(world.originals.asked.includes(email.replaceAll('-', '')))
})

t.test('a row that was edited, swapped, or is of a value with an equal token does not open', async t => {
  for (const [field, value, another] of [
    ['ip', '203.0.113.7', '203.0.113.8'],
    ['device_id', '593-47-1', '593-47-2'],
  ] as const) {
    const world = newWorld()
    const { format } = fields.get(field)!
    if (format === 'text') throw new Error('both are typed')
    const [token] = world.store(field, [value]) as [string]
    const item = { field, token }
    const { id } = parseTypedToken(token)!
    const row = world.originals.rows.get(id)!
    const opens = async (changes: object) => {
      world.originals.rows.set(id, { ...row, ...changes })
      return (await answers(world, [item]))[0]
    }
    t.equal(await opens({}), value)
    const rests = Array.from({ length: 256 }, (_, rest) => rest).filter(rest => rest !== row.sivRest)
    const codes = new Set(await Promise.all(rests.filter(() => randomInt(4) === 0).map(sivRest => opens({ sivRest }))))
    t.same([...codes], ['original_not_authentic'], `${field}: any other rest`)
    const noRest = [null, undefined, -1, 0.5, row.sivRest! + 64, row.sivRest! + 256]
    for (const sivRest of noRest.filter(rest => !isRest(format, rest)))
      t.equal(await opens({ sivRest }), 'original_not_authentic', `${field}: rest ${sivRest}`)
    for (const sealed of everyBitFlipped(row.sealed).slice(0, 8))
      t.equal(await opens({ sealed }), 'original_not_authentic')
    const [other] = world.tokenizer.tokenizeValues(field, [another])
    t.equal(await opens({ ...tokenized(other).original, tokenId: id }), 'original_not_authentic', 'of another value')
    t.equal(await opens({ tokenKeyVersion: 2 }), 'key_unavailable')
    t.equal(await opens({ field: 'email' }), 'token_unknown', 'of a field that may not be revealed')
    t.equal(await opens({}), value)
  }
  const world = newWorld(mixed)
  const [ip] = world.store('ip', ['203.0.113.7']) as [string]
  const [id, row] = [...world.originals.rows][0]!
  world.originals.rows.set(id, { ...row, sivRest: 0 })
  t.same(await answers(world, [ip]), ['original_not_authentic'], 'text has no rest')
})

t.test('an approval is for tokens of the fields that the call named, and no other call has its digest', async t => {
  const world = newWorld()
  const uuid = '59e1cfab-3892-8ebc-a82b-b68c0f8b8b0e'
  const calls: readonly (readonly TokenItem[])[] = [
    [{ field: 'device_id', token: uuid }],
    [{ field: 'email', token: uuid }],
    [{ field: 'nothing', token: uuid }],
    [uuid],
    [`device_id ${uuid}`],
    [{ field: 'device_id', token: ` ${uuid}` }],
    [{ field: '', token: `device_id ${uuid}` }],
    [{ field: 'device_id', token: '' }, uuid],
    [{ field: 'device_id', token: uuid }, uuid],
    [JSON.stringify(['device_id', uuid])],
    [JSON.stringify([uuid])],
  ]
  const byField = new Map()
  const digests = calls.map(tokens => {
    const identities = tokens.map(token => readToken(token).identity)
    return describeApproval(world.fieldKeys, { purpose: 'p', identities }, new Map(), byField).digest
  })
  t.equal(new Set(digests).size, calls.length)
  t.equal(
    readToken({ field: 'ip', token: 'fd12::1' }).identity,
    readToken({ field: 'ip', token: 'fd12::1/128' }).identity,
    'one token, one identity',
  )
  t.ok(worldPolicy)
})

t.test(
  'of values that look like tokens, only a UUID of version 8 is refused, and only by the field whose tokens are such',
  async t => {
    const accept = (field: string, value: string) => acceptValue(fields.get(field)!, value, fields)
    const uuid = '59e1cfab-3892-8ebc-a82b-b68c0f8b8b0e'
    for (const value of [uuid, ` ${uuid}\n`]) t.same(accept('device_id', value), { code: 'value_is_token' })
    const versions = [...'1345679'].map(version => uuid.replace('-8', `-${version}`))
    for (const value of [...versions, uuid.replace('-a', '-c')]) t.equal(accept('device_id', value), value)
    t.equal(accept('ip', 'fde1:cfab::1'), 'fde1:cfab::1', 'hosts have unique local addresses')
    const asText = createFieldSchema([{ name: 'device_id', rule: 'device_id.v1', column: 'c' }])
    t.equal(acceptValue(asText.get('device_id')!, uuid, asText), uuid)
  },
)
