import t from 'tap'
import { createFirstIdentitySeal } from '../../src/ingest/first-identity.ts'
import { FieldKeys } from '../../src/vault/keys/field-keys.ts'
import { generateKey, Keyset } from '../../src/vault/keys/keyset.ts'

const quarantineKey = generateKey({ purpose: 'quarantine', field: '', version: 1 }, 'primary')
const auditKey = generateKey({ purpose: 'audit', field: '', version: 1 }, 'primary')
const keysOf = (tenant = 'default', key = quarantineKey) => new FieldKeys(new Keyset([key, auditKey]), tenant)

const seal = createFirstIdentitySeal(keysOf())
const nowMs = Date.UTC(2026, 2, 15)
const identity = { messageId: '3f0c1f0e-52a1-4a27-8f0b-0f5ad1b1c9c4', sentAtMs: nowMs - 86_400_000 }
const body = '{"user_id":"é"}'
const mark = seal.seal(identity, body)

t.test('a mark gives the first identity back, and shows nothing of it', async t => {
  t.strictSame(seal.open(mark, body, nowMs), identity)
  t.match(mark, /^v1_[A-Za-z0-9_-]{60,120}$/)
  t.equal(seal.seal(identity, body), mark, 'sealing again gives the same mark')
})

t.test('a mark does not open with another body, tenant or key, nor changed by one bit', async t => {
  t.equal(seal.open(mark, `${body} `, nowMs), undefined)
  t.equal(createFirstIdentitySeal(keysOf('other')).open(mark, body, nowMs), undefined)
  const otherKey = generateKey({ purpose: 'quarantine', field: '', version: 1 }, 'primary')
  t.equal(createFirstIdentitySeal(keysOf('default', otherKey)).open(mark, body, nowMs), undefined)
  const bytes = Buffer.from(mark.slice(3), 'base64url')
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Buffer.from(bytes)
    changed[bit >> 3]! ^= 1 << (bit & 7)
    t.equal(seal.open(`v1_${changed.toString('base64url')}`, body, nowMs), undefined, `bit ${bit}`)
  }
})

t.test('a quarantined body is no mark, though the key is the same', async t => {
  const keys = keysOf()
  const { bytes } = keys
    .sealer('quarantine', '', 1)!
    .seal({ bytes: Buffer.from(`${identity.sentAtMs} ${identity.messageId}`), offsets: Uint32Array.of(0, 50) }, [
      '0'.repeat(32),
    ])
  t.equal(seal.open(`v1_${Buffer.from(bytes).toString('base64url')}`, body, nowMs), undefined)
})

t.test('what is no mark is ignored', async t => {
  for (const text of [
    '',
    'v1_',
    'v1',
    `v2${mark.slice(2)}`,
    `v0${mark.slice(2)}`,
    `v999999999${mark.slice(2)}`,
    ` ${mark}`,
    `${mark}=`,
    `v1_${'A'.repeat(501)}`,
    'x'.repeat(100_000),
  ])
    t.equal(seal.open(text, body, nowMs), undefined, text.slice(0, 20))
})

t.test('a mark older than any delivery record, or from the future, is ignored', async t => {
  const day = 24 * 3600 * 1000
  t.strictSame(seal.open(mark, body, identity.sentAtMs + 28 * day), identity)
  t.equal(seal.open(mark, body, identity.sentAtMs + 28 * day + 1), undefined)
  t.equal(seal.open(mark, body, identity.sentAtMs - day - 1), undefined)
})
