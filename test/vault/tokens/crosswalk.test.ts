import { createHash, createHmac } from 'node:crypto'
import t from 'tap'
import { packText } from '../../../src/crypto/byte-column.ts'
import { parseToken } from '../../../src/crypto/token.ts'
import { nameToken, textSpelling } from '../../../src/crypto/typed-token.ts'
import type { HashScheme } from '../../../src/crypto/value-hash.ts'
import { TokenvaultError } from '../../../src/errors.ts'
import { signReceipt } from '../../../src/tlog/receipt.ts'
import { createOpenAction } from '../../../src/vault/admission/open-action.ts'
import type { ActionLog, Principal } from '../../../src/vault/admission/ports.ts'
import { createFieldSchema } from '../../../src/vault/fields/fields.ts'
import { generateKey } from '../../../src/vault/keys/keyset.ts'
import { type CrosswalkPage, type CrosswalkRequest, createCrosswalk } from '../../../src/vault/tokens/crosswalk.ts'
import { createTokenizer } from '../../../src/vault/tokens/tokenizer.ts'
import {
  createWorld,
  freshKeys,
  investigator,
  MapOriginals,
  parsePolicy,
  withStatus,
} from '../../helpers/vault/vault-world.ts'

const policy = parsePolicy(`
version: 1
roles:
  migrator: { crosswalk: [ip, device_id], purposes: [migration] }
  clerk: { crosswalk: [device_id], purposes: [migration], ticket: required, batch_limit: 2, budget: { per_minute: 5, per_day: 90 } }
  guarded: { crosswalk: ["*"], purposes: ["*"], approval: { above: 3, window: 2h, fields: [email] } }
  investigator: { reveal: { "*": full }, tokenize: ["*"], purposes: ["*"] }
`)

const migrator: Principal = { ...investigator, subject: 'mig-1', roles: ['migrator'] }
const as = (...roles: string[]): Principal => ({ ...migrator, roles })
const request: CrosswalkRequest = {
  ...{ requestId: 'request-1', purpose: 'migration', field: 'ip', scheme: { name: 'sha256' } },
}

const addresses = ['203.0.113.7', '2001:DB8:0::1', '::ffff:198.51.100.4', '10.0.0.1']
const devices = ['Cafe\u0301 日本', '38400000-8CF0-11BD-B23E-10B96E4EF00D', 'Pixel-7a']

function build(keys = freshKeys(), originals = new MapOriginals()) {
  const world = createWorld(keys, { policy, originals })
  const ips = world.store('ip', addresses)
  const ids = world.store('device_id', devices)
  world.store('email', ['ada@example.org'])
  return { ...world, ips, ids }
}

const byHash = ({ pairs }: Pick<CrosswalkPage, 'pairs'>) => new Map(pairs.map(({ hash, token }) => [hash, token]))

t.test('each token stands beside the hash of its value, by every scheme, of addresses and devices', async t => {
  const { crosswalk, ips, ids } = build()
  const key = Buffer.from('key of the old system')
  const schemes: [HashScheme, (text: string) => string][] = [
    [{ name: 'sha256' }, text => createHash('sha256').update(text).digest('hex')],
    [{ name: 'md5' }, text => createHash('md5').update(text).digest('hex')],
    [{ name: 'hmac-sha256', key }, text => createHmac('sha256', key).update(text).digest('hex')],
  ]
  const values = {
    ip: ['203.0.113.7', '2001:db8::1', '198.51.100.4', '10.0.0.1'],
    device_id: ['Caf\u00e9 日本', '38400000-8cf0-11bd-b23e-10b96e4ef00d', 'Pixel-7a'],
  }
  for (const [scheme, digest] of schemes) {
    for (const field of ['ip', 'device_id'] as const) {
      for (const normalize of ['field', 'none', undefined] as const) {
        const page = await crosswalk(migrator, { ...request, field, scheme, normalize })
        const tokens = field === 'ip' ? ips : ids
        t.strictSame(
          byHash(page),
          new Map(page.pairs.map(({ token }) => [digest(values[field][tokens.indexOf(token)]!), token])),
          `${scheme.name} of ${field}`,
        )
        t.equal(page.pairs.length, tokens.length)
        t.notOk('next' in page)
        t.strictSame(page.withheld, [])
      }
    }
  }
})

t.test('the event has counts, digests and the scheme, and comes before the reply; the receipt is of it', async t => {
  const world = build()
  const page = await world.crosswalk(migrator, { ...request, scheme: { name: 'hmac-sha256', key: Buffer.from('k') } })
  t.same(page.receipt, signReceipt(world.signer, { sequence: 0, leafHash: new Uint8Array(32) }))
  const { tokens, ...event } = world.audit.events[0]!
  t.match(event, {
    format: 2,
    type: 'crosswalk',
    purpose: 'migration',
    decision: 'permitted',
    requested: 4,
    granted: 4,
    fields: { ip: { requested: 4, granted: 4, level: 'full' } },
    withheld: {},
    scheme: 'hmac-sha256',
    policy: policy.digest,
  })
  t.same(tokens, world.fieldKeys.digest.digest(page.pairs.map(({ token }) => token)))
  t.notMatch(JSON.stringify(world.audit.events), /203|_v1_|"key"/)
  t.equal(world.audit.actions[0]!.charge?.values, 4, 'a value a pair')

  world.audit.commit = () => Promise.reject(new Error('Key (ip)=(203.0.113.7)'))
  const refused = world.crosswalk(migrator, request)
  await t.rejects(refused, { code: 'audit_unavailable' })
  const error = await refused.catch((error: TokenvaultError) => error)
  t.notMatch(`${(error as TokenvaultError).message}${JSON.stringify(error)}`, /203|_v1_/)
})

t.test('pages are disjoint, complete and of one field', async t => {
  const world = build()
  const values = Array.from({ length: 23 }, (_, n) => `10.1.0.${n}`)
  const expected = new Set([...world.ips, ...world.store('ip', values)])
  for (const limit of [1, 2, 9, 26, 27, 28, undefined]) {
    const seen: string[] = []
    let calls = 0
    for (let before: string | undefined; ; calls++) {
      const { pairs, next } = await world.crosswalk(migrator, { ...request, before, limit })
      seen.push(...pairs.map(({ token }) => token))
      if (next === undefined) break
      t.ok(before === undefined || next < before)
      before = next
    }
    t.equal(seen.length, expected.size, `${limit} a page`)
    t.strictSame(new Set(seen), expected)
    t.ok(calls <= Math.ceil(27 / (limit ?? 27)))
  }
  t.strictSame((await build().crosswalk(migrator, { ...request, before: '0'.repeat(32) })).pairs, [])
})

t.test(
  'whoever may not, for this field, purpose or ticket, is refused before anything is read, and on record',
  async t => {
    const cases: [string[], Partial<CrosswalkRequest>, string, string][] = [
      [['investigator'], {}, 'role_not_permitted', 'revealing everything gives no right to it'],
      [['analyst'], {}, 'role_not_permitted', ''],
      [[], {}, 'role_not_permitted', ''],
      [['__proto__'], {}, 'role_not_permitted', ''],
      [['investigator'], { field: 'nope' }, 'role_not_permitted', 'an unknown field'],
      [['migrator'], { field: 'email' }, 'field_not_permitted', ''],
      [['migrator'], { purpose: 'curiosity' }, 'purpose_not_permitted', ''],
      [['clerk'], { field: 'device_id' }, 'ticket_required', ''],
      [['clerk'], { field: 'device_id', ticket: 'MIG-1', limit: 3 }, 'batch_over_role_limit', ''],
      [['guarded'], { field: 'email' }, 'approval_required', 'nobody can approve it'],
    ]
    for (const [roles, change, code, why] of cases) {
      const { crosswalk, audit, originals } = build()
      originals.listOriginals = () => Promise.reject(new Error('read'))
      await t.rejects(crosswalk(as(...roles), { ...request, ...change }), { code }, `${roles} ${code} ${why}`)
      t.match(audit.events, [{ type: 'crosswalk', decision: 'refused', code, granted: 0, tokens: { length: 0 } }])
    }
    const { crosswalk, audit } = build()
    const wrong: [Partial<CrosswalkRequest>, string][] = [
      [{ purpose: '' }, 'purpose_missing'],
      [{ purpose: 'x y' }, 'purpose_invalid'],
      [{ ticket: '203.0.113.7' }, 'ticket_invalid'],
      [{ limit: 0 }, 'batch_empty'],
      [{ limit: 10_001 }, 'batch_too_large'],
      [{ field: 'nope' }, 'request_invalid'],
      [{ field: '__proto__' }, 'request_invalid'],
      [{ field: 'constructor' }, 'request_invalid'],
    ]
    for (const [change, code] of wrong) await t.rejects(crosswalk(migrator, { ...request, ...change }), { code }, code)
    t.strictSame(audit.events, [])
  },
)

t.test('what bounds values bounds pairs: batch, budget and what needs no second person', async t => {
  const { crosswalk, audit, ids } = build()
  const clerk = { ...request, field: 'device_id', ticket: 'MIG-1' }
  const first = await crosswalk(as('clerk'), clerk)
  t.equal(first.pairs.length, 2, 'a page is as large as the role allows where no size is asked for')
  t.match(audit.actions[0]!.charge, { values: 2, perMinute: 5, perDay: 90 })
  const { pairs, next } = await crosswalk(as('clerk'), { ...clerk, before: first.next })
  t.strictSame([...first.pairs, ...pairs].map(({ token }) => token).sort(), [...ids].sort())
  t.equal(next, undefined)
  await crosswalk(as('guarded'), { ...request, limit: 3 })
  const allowances = [[{ values: 3, windowSeconds: 7200 }]]
  t.strictSame(audit.actions.at(-1)!.charge?.withoutApproval, { asked: 3, allowances })
  t.equal(audit.actions.at(-1)!.otherwise, undefined, 'so an allowance that does not hold it refuses it')
  const withoutApproval = { above: 3, windowSeconds: 7200, left: 0 }
  audit.admission = { allowed: false, code: 'approval_required', withoutApproval }
  await t.rejects(crosswalk(as('guarded'), request), { code: 'approval_required', withoutApproval })
  audit.admission = { allowed: false, code: 'budget_exceeded', window: 'minute', retryAfterSeconds: 7 }
  await t.rejects(crosswalk(as('guarded'), request), { code: 'budget_exceeded', retryAfterSeconds: 7 })
})

t.test('originals that do not open are counted by code, and never left out in silence', async t => {
  const keys = freshKeys()
  const originals = new MapOriginals()
  const before = build(keys, originals)
  const [damaged] = before.ips as [string]
  const row = originals.rows.get(parseToken(damaged)!.id)!
  originals.rows.set(row.tokenId, { ...row, sealed: row.sealed.map((byte, n) => (n === 3 ? byte ^ 1 : byte)) })
  const rotated = [
    ...withStatus(keys, ({ field, status }) => (field === 'ip' ? 'active' : status)),
    generateKey({ purpose: 'token', field: 'ip', version: 2 }, 'primary'),
    generateKey({ purpose: 'data', field: 'ip', version: 2 }, 'primary'),
  ]
  const after = createWorld(rotated, { policy, originals })
  const fresh = after.store('ip', ['203.0.113.99', addresses[3]!])
  const both = await after.crosswalk(migrator, request)
  t.equal(both.pairs.length, 5)
  t.strictSame(both.withheld, [{ code: 'original_not_authentic', items: 1 }])
  const digest = createHash('sha256').update(addresses[3]!).digest('hex')
  const tokens = both.pairs.filter(({ hash }) => hash === digest).map(({ token }) => token)
  t.strictSame(tokens.sort(), [before.ips[3]!, fresh[1]!].sort(), 'a value under two key versions has two tokens')

  for (const purpose of ['token', 'data']) {
    const without = rotated.filter(key => key.purpose !== purpose || key.field !== 'ip' || key.version !== 1)
    const lost = createWorld(without, { policy, originals })
    const page = await lost.crosswalk(migrator, request)
    t.strictSame(page.withheld, [{ code: 'key_unavailable', items: 4 }], purpose)
    t.strictSame(page.pairs.map(({ token }) => token).sort(), [...fresh].sort())
    t.match(lost.audit.events, [{ requested: 6, granted: 2, withheld: { key_unavailable: 4 } }])
  }
})

t.test('with `none` the text is hashed as it stands, with `field` as the rule has it today, or withheld', async t => {
  const { crosswalk, originals, fieldKeys, tokenizer } = build()
  // As an earlier rule may have left it: neither what the rule makes of it, nor in one case of its shape.
  const planted = ['2001:DB8::9', 'no address']
  const { ids, ciphertexts } = fieldKeys.tokenKey('ip', 1)!.tokenize(packText(planted), textSpelling)
  const sealed = fieldKeys.sealer('data', 'ip', 1)!.seal(ciphertexts, ids)
  const [row] = tokenizer.tokenizeValues('ip', ['10.0.0.1'])
  if (!row || !('original' in row)) throw new Error('refused')
  originals.rows.clear()
  for (const [index, tokenId] of ids.entries()) {
    const bytes = sealed.bytes.slice(sealed.offsets[index], sealed.offsets[index + 1])
    originals.rows.set(tokenId, { ...row.original, tokenId, sealed: bytes })
  }
  const digest = (text: string) => createHash('sha256').update(text).digest('hex')
  const none = await crosswalk(migrator, { ...request, normalize: 'none' })
  t.strictSame(new Set(byHash(none).keys()), new Set(planted.map(digest)))
  const field = await crosswalk(migrator, request)
  t.strictSame([...byHash(field).keys()], [digest('2001:db8::9')])
  t.strictSame(field.withheld, [{ code: 'value_invalid', items: 1 }])
})

t.test('a store that is down is an error and no event', async t => {
  const { crosswalk, originals, audit } = build()
  originals.listOriginals = () => Promise.reject(new TokenvaultError('store_unavailable'))
  await t.rejects(crosswalk(migrator, request), { code: 'store_unavailable' })
  t.strictSame(audit.events, [])
})

t.test('tokens that are UUIDs or addresses are spelled as their columns have them', async t => {
  const fields = createFieldSchema([
    { name: 'ip', rule: 'ip.v1', column: 'masked_ip', format: 'inet' },
    { name: 'device_id', rule: 'device_id.v1', column: 'masked_device_id', format: 'uuid' },
  ])
  const { fieldKeys, signer, audit } = createWorld()
  const originals = new MapOriginals()
  const log: ActionLog = { commit: action => audit.commit(action) }
  const openAction = createOpenAction({ log, keys: fieldKeys, policy: () => policy })
  const crosswalk = createCrosswalk({ fields, keys: fieldKeys, originals, signer, openAction })
  const tokenizer = createTokenizer(fieldKeys, fields)
  const made = { ip: ['203.0.113.7', '2001:db8::1'], device_id: ['Pixel-7a', 'x'] }
  for (const [field, values] of Object.entries(made)) {
    const results = tokenizer.tokenizeValues(field, values).map(result => {
      if (!('token' in result)) throw new Error(result.code)
      originals.rows.set(result.original.tokenId, result.original)
      return result
    })
    const page = await crosswalk(migrator, { ...request, field })
    t.strictSame(
      byHash(page),
      new Map(
        page.pairs.map(({ token }) => {
          const place = results.findIndex(result => result.token === token)
          return [createHash('sha256').update(values[place]!).digest('hex'), token]
        }),
      ),
    )
    t.equal(page.pairs.length, 2, field)
    const names = page.pairs.map(({ token }) => nameToken(fields.get(field)!, token))
    t.same(audit.events.at(-1)!.tokens, fieldKeys.digest.digest(names), 'by which a search finds them')
    const [{ original }] = results as [(typeof results)[0]]
    const rest = (original.sivRest! + 1) % 64
    originals.rows.set(original.tokenId, { ...original, sivRest: rest })
    t.strictSame((await crosswalk(migrator, { ...request, field })).withheld, [
      { code: 'original_not_authentic', items: 1 },
    ])
  }
})
