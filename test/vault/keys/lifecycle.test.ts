import t from 'tap'
import type { KeyStatus } from '../../../src/vault/keys/keyset.ts'
import {
  nextPrimary,
  planDestruction,
  planDisabling,
  planDueDestructions,
  planEnabling,
  planPromotion,
} from '../../../src/vault/keys/lifecycle.ts'
import type { KeyRecord } from '../../../src/vault/keys/ports.ts'

const now = new Date('2026-11-30T00:00:00Z')

function record(version: number, status: KeyStatus, more: Partial<KeyRecord> = {}): KeyRecord {
  const wasPrimary = status === 'primary' ? { primarySince: now } : {}
  return { purpose: 'data', field: 'ip', version, status, kekId: 'local:1', createdAt: now, ...wasPrimary, ...more }
}

const name = (version: number) => ({ purpose: 'data', field: 'ip', version }) as const
const place = { purpose: 'data', field: 'ip' } as const
const destruction = { after: now, unreadable: 0 }

t.test('a version is never used again, not even that of a destroyed key', async t => {
  const records = [record(1, 'primary'), record(2, 'destroyed')]
  t.same(nextPrimary(records, place), { name: name(3), isNew: true })
  t.throws(() => nextPrimary([record(1, 'primary'), record(999_999_999, 'disabled')], place), {
    code: 'key_state_invalid',
  })
  t.throws(() => nextPrimary(records, { purpose: 'data', field: 'email' }), { code: 'key_unknown' })
})

t.test('a rotation that was cut short goes on with the key that it made', async t => {
  t.same(nextPrimary([record(1, 'primary'), record(2, 'active')], place), { name: name(2), isNew: false })
  const earlier = record(2, 'active', { primarySince: now })
  t.same(
    nextPrimary([record(3, 'primary'), earlier], place),
    { name: name(4), isNew: true },
    'one that was primary is past',
  )
  t.same(nextPrimary([record(1, 'primary'), record(2, 'disabled')], place), { name: name(3), isNew: true })
})

t.test('the key that writes steps down before another one is promoted', async t => {
  const other = { ...record(1, 'primary'), field: 'device_id' }
  t.same(planPromotion([other, record(1, 'primary'), record(2, 'active')], name(2)), [
    { ...name(1), from: 'primary', to: 'active' },
    { ...name(2), from: 'active', to: 'primary' },
  ])
})

t.test('what each state allows, and what it refuses', async t => {
  const plans = {
    promote: planPromotion,
    disable: planDisabling,
    enable: planEnabling,
    destroy: (records: readonly KeyRecord[], key: ReturnType<typeof name>) =>
      planDestruction(records, key, destruction),
  }
  const allowed: Record<KeyStatus, readonly (keyof typeof plans)[]> = {
    primary: [],
    active: ['promote', 'disable', 'destroy'],
    disabled: ['enable', 'destroy'],
    destroyed: [],
  }
  for (const [status, names] of Object.entries(allowed) as [KeyStatus, readonly string[]][]) {
    for (const [verb, plan] of Object.entries(plans)) {
      const attempt = () =>
        plan(
          [record(9, 'primary', { version: status === 'primary' ? 7 : 9 }), record(7, status)].slice(
            status === 'primary' ? 1 : 0,
          ),
          name(7),
        )
      if (names.includes(verb)) t.doesNotThrow(attempt, `${verb} of a key that is ${status}`)
      else t.throws(attempt, { code: 'key_state_invalid', message: new RegExp(`data/ip/v7 is ${status} and cannot`) })
    }
  }
  for (const plan of Object.values(plans)) t.throws(() => plan([], name(1)), { code: 'key_unknown' })
})

t.test('a key is destroyed when its time has come, and not before', async t => {
  const late = new Date(now.getTime() + 1)
  const records = [
    record(1, 'disabled', { destroyAfter: now, unreadable: 0 }),
    record(2, 'disabled', { destroyAfter: late, unreadable: 0 }),
    record(3, 'disabled'),
    record(4, 'primary'),
    record(5, 'destroyed', { destroyAfter: now, unreadable: 0 }),
  ]
  t.same(planDueDestructions(records, now), [{ ...name(1), from: 'disabled', to: 'destroyed', destruction }])
})

t.test('keys by which the past is searched and checked are never taken out of use', async t => {
  for (const purpose of ['audit', 'signing'] as const) {
    const records = [record(1, 'active', { purpose, field: '' }), record(2, 'primary', { purpose, field: '' })]
    const kept = { code: 'key_state_invalid', message: new RegExp(`${purpose}//v1 is kept`) }
    t.throws(() => planDisabling(records, { purpose, field: '', version: 1 }), kept)
    const destroy = () => planDestruction(records, { purpose, field: '', version: 1 }, destruction)
    // Of a signing key only the private half goes, once it was handed over.
    if (purpose === 'audit') t.throws(destroy, kept)
    else t.match(destroy(), [{ to: 'disabled', destruction }])
  }
})
