import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { packText } from '../../../src/crypto/byte-column.ts'
import { parseToken } from '../../../src/crypto/token.ts'
import { TokenvaultError } from '../../../src/errors.ts'
import { signReceipt } from '../../../src/tlog/receipt.ts'
import { generateKey, Keyset } from '../../../src/vault/keys/keyset.ts'
import type { DetokenizedItem } from '../../../src/vault/tokens/detokenize.ts'
import { everyBitFlipped } from '../../helpers/crypto/bytes.ts'
import { createWorld, freshKeys, investigator, MapOriginals, withStatus } from '../../helpers/vault/vault-world.ts'

type World = ReturnType<typeof createWorld>
const request = { requestId: 'request-1', purpose: 'fraud_investigation', atomic: false }

const idOf = (token: string) => parseToken(token)!.id

/** The code, or the value, of each item. */
async function answers({ detokenize }: World, tokens: readonly string[]): Promise<string[]> {
  const result = await detokenize(investigator, { ...request, tokens })
  return result.outcome === 'complete' ? result.items.map(item => answer(item)) : [result.outcome]
}

function answer(item: DetokenizedItem): string {
  return 'value' in item ? item.value : item.error.code
}

/** Changes the letter `fromEnd` places before the end; from 2 on, all bits of it are in use. */
function altered(token: string, fromEnd = 3): string {
  const at = token.length - fromEnd
  return token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1)
}

t.test('originals come back in input order, of both fields, repeats included', async t => {
  const world = createWorld()
  const [a, b] = world.store('ip', ['203.0.113.7', '2001:DB8:0::1']) as [string, string]
  const [c] = world.store('device_id', ['Cafe\u0301 日本']) as [string]
  const result = await world.detokenize(investigator, { ...request, tokens: [c, a, b, a] })
  t.same(result, {
    outcome: 'complete',
    receipt: signReceipt(world.signer, { sequence: 0, leafHash: new Uint8Array(32) }),
    items: [
      { token: c, field: 'device_id', value: 'Caf\u00e9 日本' },
      { token: a, field: 'ip', value: '203.0.113.7' },
      { token: b, field: 'ip', value: '2001:db8::1' },
      { token: a, field: 'ip', value: '203.0.113.7' },
    ],
  })
  t.match(world.audit.events, [{ decision: 'permitted', requested: 4, granted: 4, withheld: {} }])
  t.same(world.audit.events[0]!.tokens, world.fieldKeys.digest.digest([c, a, b]), 'digests in request order, once each')
  t.strictSame(world.audit.events[0]!.fields, {
    ip: { requested: 3, granted: 3, level: 'full' },
    device_id: { requested: 1, granted: 1, level: 'full' },
  })
})

t.test('each way to fail has a code of its own and leaves its neighbours alone', async t => {
  const world = createWorld()
  const [good, other] = world.store('ip', ['203.0.113.7', '203.0.113.8']) as [string, string]
  const [email] = world.store('email', ['a@example.org']) as [string]
  const payload = good.slice('ip_v1_'.length)
  const cases: [string, string][] = [
    [good, '203.0.113.7'],
    ['', 'token_malformed'],
    ['203.0.113.7', 'token_malformed'],
    [`${good} `, 'token_malformed'],
    [good.toUpperCase(), 'token_malformed'],
    [`phone_v1_${payload}`, 'field_unknown'],
    [`constructor_v1_${payload}`, 'field_unknown'],
    [email, 'field_not_permitted'],
    [altered(email), 'field_not_permitted'],
    [`ip_v9_${payload}`, 'key_unavailable'],
    [altered(good, 20), 'token_unknown'],
    [`device_id_v1_${payload}`, 'token_field_mismatch'],
    [altered(good), 'token_unknown'],
    [`${good}AAAA`, 'token_malformed'],
    [`ip_v1_${email.slice('email_v1_'.length)}`, 'token_unknown'],
    [other, '203.0.113.8'],
  ]
  const tokens = cases.map(([token]) => token)
  t.same(
    await answers(world, tokens),
    cases.map(([, expected]) => expected),
  )
  t.match(
    await world.detokenize(investigator, { ...request, tokens }),
    { items: tokens.map(token => ({ token })) },
    'each item names its token',
  )
  t.match(world.audit.events[0], {
    decision: 'permitted',
    requested: 16,
    granted: 2,
    fields: {
      ip: { requested: 6, granted: 2, level: 'full' },
      device_id: { requested: 1, granted: 0, level: 'full' },
      email: { requested: 2, granted: 0, level: 'none' },
    },
    withheld: { token_malformed: 5, field_not_permitted: 2, token_unknown: 3 },
  })
  t.strictSame(
    Object.keys(world.audit.events[0]!.fields!),
    ['ip', 'device_id', 'email'],
    'fields of the configuration, in its order, and no name that a caller made up',
  )
})

t.test(
  'every call looks up as many ids as it has different tokens, and none of a token refused from its text',
  async t => {
    const world = createWorld()
    const [email] = world.store('email', ['a@example.org']) as [string]
    const [good] = world.store('ip', ['203.0.113.7']) as [string]
    const payload = email.slice('email_v1_'.length)
    const asked = async (...tokens: string[]) => {
      world.originals.asked.length = 0
      await answers(world, tokens)
      return [...world.originals.asked]
    }
    const refused = await asked(email, `phone_v1_${payload}`, 'nonsense')
    t.equal(new Set(refused).size, 3)
    t.ok(
      refused.every(id => /^[0-9a-f]{32}$/.test(id) && id !== idOf(email)),
      'random ids stand in',
    )
    t.same(
      (await asked(email, `phone_v1_${payload}`)).filter(id => refused.includes(id)),
      [],
      'and others each time',
    )
    const mixed = await asked(good, email, good, good.replace('ip', 'device_id'))
    t.equal(mixed.length, 3, 'also where two tokens have one identity')
    t.equal(mixed[0], idOf(good), 'and a token that stands twice is looked up once')
  },
)

t.test('a token of a forbidden field that exists cannot be told from one that does not', async t => {
  const world = createWorld()
  const [email] = world.store('email', ['a@example.org']) as [string]
  const payload = email.slice('email_v1_'.length)
  const absent = altered(payload, 20)
  for (const prefix of ['email_v1_', 'ip_v1_', 'device_id_v1_']) {
    const [one, two] = await answers(world, [prefix + payload, prefix + absent])
    t.equal(one, two, prefix)
  }
})

t.test('every single flipped bit of a token is refused', async t => {
  const world = createWorld()
  const [token] = world.store('ip', ['203.0.113.7']) as [string]
  const bytes = Buffer.from(token.slice('ip_v1_'.length), 'base64url')
  const forged = everyBitFlipped(bytes).map(copy => `ip_v1_${Buffer.from(copy).toString('base64url')}`)
  const found = await answers(world, forged)
  t.same(found, new Array(128).fill('token_unknown'), 'it is the name of another row')
  const row = world.originals.rows.get(idOf(token))!
  for (const flipped of forged) world.originals.rows.set(idOf(flipped), { ...row, tokenId: idOf(flipped) })
  const moved = await answers(world, [...forged, token])
  const refused = new Array(128).fill('original_not_authentic')
  t.same(moved, [...refused, '203.0.113.7'], 'also where the row stands under it')
})

t.test('an altered vault is found', async t => {
  const setUp = () => {
    const world = createWorld()
    const [a, b] = world.store('ip', ['203.0.113.7', '203.0.113.8']) as [string, string]
    const row = (token: string) => world.originals.rows.get(idOf(token))!
    const change = (token: string, changed: object) =>
      world.originals.rows.set(idOf(token), { ...row(token), ...changed })
    return { world, a, b, row, change }
  }

  t.test('sealed values of two rows exchanged', async t => {
    const { world, a, b, row, change } = setUp()
    const { sealed } = row(a)
    change(a, { sealed: row(b).sealed })
    change(b, { sealed })
    t.same(await answers(world, [a, b]), ['original_not_authentic', 'original_not_authentic'])
  })

  t.test('whole rows exchanged: the value never comes under the wrong token', async t => {
    const { world, a, b, row } = setUp()
    const [rowA, rowB] = [row(a), row(b)]
    world.originals.rows.set(idOf(a), rowB).set(idOf(b), rowA)
    t.same(await answers(world, [a, b]), ['original_not_authentic', 'original_not_authentic'])
  })

  t.test('any bit of the sealed value flipped, or the value cut short', async t => {
    const { world, a, b, row, change } = setUp()
    const { sealed } = row(a)
    const wrong = [...everyBitFlipped(sealed), new Uint8Array(), sealed.subarray(0, 15), sealed.subarray(0, 16)]
    const found = new Set<string>()
    for (const bytes of wrong) {
      change(a, { sealed: bytes })
      found.add((await answers(world, [a, b])).join())
    }
    t.same([...found], ['original_not_authentic,203.0.113.8'])
  })

  t.test('another value sealed with the right key for the right row', async t => {
    const { world, a, change } = setUp()
    const sealer = world.fieldKeys.sealer('data', 'ip', 1)!
    for (const planted of ['203.0.113.9', '', '\0'.repeat(11)]) {
      change(a, { sealed: sealer.seal(packText([planted]), [idOf(a)]).bytes })
      t.same(await answers(world, [a]), ['original_not_authentic'], JSON.stringify(planted))
    }
  })

  t.test('a row that is gone: the value is gone, whoever holds the token and every key', async t => {
    const { world, a, b } = setUp()
    world.originals.rows.delete(idOf(a))
    t.same(await answers(world, [a, b]), ['token_unknown', '203.0.113.8'])
  })

  t.test('a row that claims another field or key version', async t => {
    const { world, a, change } = setUp()
    change(a, { field: 'device_id' })
    t.same(await answers(world, [a]), ['token_field_mismatch'])
    change(a, { field: 'ip', tokenKeyVersion: 2 })
    t.same(await answers(world, [a]), ['token_not_authentic'])
    change(a, { tokenKeyVersion: 1, dataKeyVersion: 2 })
    t.same(await answers(world, [a]), ['key_unavailable'])
  })
})

t.test('key versions', async t => {
  const keys = freshKeys()
  const originals = new MapOriginals()
  const before = createWorld(keys, { originals })
  const [old] = before.store('ip', ['203.0.113.7']) as [string]
  const retired = withStatus(keys, key => (key.field === 'ip' ? 'active' : key.status))
  const rotated = [
    ...retired,
    generateKey({ purpose: 'token', field: 'ip', version: 2 }, 'primary'),
    generateKey({ purpose: 'data', field: 'ip', version: 2 }, 'primary'),
  ]
  const after = createWorld(rotated, { originals })
  const [fresh] = after.store('ip', ['203.0.113.7']) as [string]
  t.match(fresh, /^ip_v2_/)
  t.same(await answers(after, [old, fresh]), ['203.0.113.7', '203.0.113.7'], 'after a rotation both open, in one call')
  t.same(
    await answers(after, [old.replace('_v1_', '_v2_'), fresh.replace('_v2_', '_v1_')]),
    ['token_not_authentic', 'token_not_authentic'],
    'a token never opens under another version than its own',
  )
  t.same(await answers(before, [fresh]), ['key_unavailable'], 'a process that has not reloaded its keys says so')

  const disable = (purpose: string) =>
    createWorld(
      withStatus(rotated, key =>
        key.purpose === purpose && key.field === 'ip' && key.version === 1 ? 'disabled' : key.status,
      ),
      { originals },
    )
  t.same(await answers(disable('token'), [old, fresh]), ['key_unavailable', '203.0.113.7'], 'token key disabled')
  t.same(await answers(disable('data'), [old, fresh]), ['key_unavailable', '203.0.113.7'], 'data key disabled')
  t.same(
    await answers(createWorld(keys, { originals, tenant: 'other' }), [old]),
    ['original_not_authentic'],
    'another tenant',
  )
})

t.test('atomic: one failure, and only failures are told', async t => {
  const world = createWorld()
  const [a, b] = world.store('ip', ['203.0.113.7', '203.0.113.8']) as [string, string]
  t.match(await world.detokenize(investigator, { ...request, atomic: true, tokens: [a, b] }), { outcome: 'complete' })
  const tokens = [a, 'nonsense', b, altered(b), 'nonsense']
  t.same(await world.detokenize(investigator, { ...request, atomic: true, tokens }), {
    outcome: 'refused',
    failures: [
      { index: 1, code: 'token_malformed' },
      { index: 3, code: 'token_unknown' },
      { index: 4, code: 'token_malformed' },
    ],
  })
  t.match(world.audit.events[1], {
    decision: 'refused',
    code: 'batch_refused',
    requested: 5,
    granted: 0,
    tokens: { length: 0 },
    withheld: { token_malformed: 2, token_unknown: 1 },
  })
})

t.test('ten thousand tokens in one call, and not one more', async t => {
  const world = createWorld()
  const values = Array.from({ length: 10_000 }, (_, index) => `10.1.${index >> 8}.${index & 255}`)
  const tokens = world.store('ip', values)
  t.same(await answers(world, tokens), values)
  const refused = world.detokenize(investigator, { ...request, tokens: [...tokens, tokens[0]!] })
  await t.rejects(refused, { code: 'batch_too_large' }, 'repeats count')
  await t.rejects(world.detokenize(investigator, { ...request, tokens: [] }), { code: 'batch_empty' })
})

t.test('a call needs a purpose', async t => {
  const world = createWorld()
  const tokens = world.store('ip', ['203.0.113.7'])
  await t.rejects(world.detokenize(investigator, { ...request, purpose: '', tokens }), { code: 'purpose_missing' })
  await t.rejects(world.detokenize(investigator, { ...request, purpose: 'x y', tokens }), { code: 'purpose_invalid' })
  t.same(world.originals.asked, [])
})

t.test('whoever may not detokenize is refused before any look-up, and that is on record', async t => {
  for (const roles of [['analyst'], ['auditor'], [], ['admin'], ['__proto__']]) {
    const world = createWorld()
    const tokens = world.store('ip', ['203.0.113.7'])
    const call = world.detokenize({ ...investigator, roles }, { ...request, tokens })
    await t.rejects(call, { code: 'role_not_permitted' }, JSON.stringify(roles))
    t.match(world.audit.events, [{ decision: 'refused', code: 'role_not_permitted', requested: 1, granted: 0, roles }])
    t.same(world.originals.asked, [])
  }
})

t.test('evidence', async t => {
  t.test('is committed before any value is given', async t => {
    const world = createWorld()
    const tokens = world.store('ip', ['203.0.113.7'])
    const journal: string[] = []
    world.audit.commit = async () => {
      journal.push('commit')
      for (let turn = 0; turn < 5; turn++) await nextTurn()
      journal.push('committed')
      return { admission: { allowed: true }, sequence: 1, leafHash: new Uint8Array(32) }
    }
    await world.detokenize(investigator, { ...request, tokens }).then(() => journal.push('answered'))
    t.same(journal, ['commit', 'committed', 'answered'])
  })

  t.test('that cannot be committed leaves one code and nothing else, whatever was asked', async t => {
    const world = createWorld()
    const [token] = world.store('ip', ['203.0.113.7']) as [string]
    world.audit.commit = () => Promise.reject(new Error('Key (ip)=(203.0.113.7)'))
    const calls = [
      world.detokenize(investigator, { ...request, tokens: [token] }),
      world.detokenize(investigator, { ...request, atomic: true, tokens: [token, 'x'] }),
      world.detokenize({ ...investigator, roles: ['analyst'] }, { ...request, tokens: [token] }),
    ]
    for (const outcome of await Promise.allSettled(calls)) {
      t.equal(outcome.status, 'rejected')
      const error = (outcome as PromiseRejectedResult).reason
      t.ok(error instanceof TokenvaultError)
      t.equal(error.code, 'audit_unavailable')
      t.notMatch(`${error.message}${JSON.stringify(error)}`, /203|_v1_/)
    }
  })

  t.test('holds no value, no token and no identity', async t => {
    const world = createWorld()
    const [token] = world.store('device_id', ['Pixel-7a']) as [string]
    await answers(world, [token, altered(token), '203.0.113.7'])
    const text = JSON.stringify(world.audit.events)
    for (const secret of ['Pixel', token, token.slice(-20), idOf(token), '203.0'])
      t.notOk(text.includes(secret), secret)
  })

  t.test(
    'names equal tokens by equal digests, in another process too, and under another audit key by others',
    async t => {
      const keys = freshKeys()
      const digests = async (world: World) => {
        const tokens = world.store('ip', ['203.0.113.7'])
        await answers(world, tokens)
        return world.audit.events[0]!.tokens.join()
      }
      t.equal(await digests(createWorld(keys)), await digests(createWorld(keys)))
      const otherAuditKey = keys.map(key => (key.purpose === 'audit' ? generateKey(key, 'primary') : key))
      t.not(await digests(createWorld(otherAuditKey)), await digests(createWorld(keys)))
    },
  )
})

t.test('a store that is down is an error and no event', async t => {
  const world = createWorld()
  const tokens = world.store('ip', ['203.0.113.7'])
  world.originals.findOriginals = () => Promise.reject(new TokenvaultError('store_unavailable'))
  await t.rejects(world.detokenize(investigator, { ...request, tokens }), { code: 'store_unavailable' })
  t.same(world.audit.events, [])
})

t.test('a key that is disabled while originals are looked up is told by its code, and nothing throws', async t => {
  for (const purpose of ['token', 'data'] as const) {
    const keys = freshKeys()
    const world = createWorld(keys)
    const [token] = world.store('ip', ['203.0.113.7']) as [string]
    const [neighbour] = world.store('device_id', ['d-1']) as [string]
    const find = world.originals.findOriginals.bind(world.originals)
    world.originals.findOriginals = async ids => {
      const found = await find(ids)
      const isIt = (key: { purpose: string; field: string }) => key.purpose === purpose && key.field === 'ip'
      world.fieldKeys.replace(new Keyset(withStatus(keys, key => (isIt(key) ? 'disabled' : key.status))))
      return found
    }
    t.same(await answers(world, [token, neighbour]), ['key_unavailable', 'd-1'], purpose)
  }
})
