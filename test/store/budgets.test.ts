import { deepEqual } from 'node:assert/strict'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { createActionLog } from '../../src/store/action-log.ts'
import { createSuspensionReader } from '../../src/store/approvals.ts'
import type { Admission, Charge, Principal } from '../../src/vault/admission/ports.ts'
import { checkProperty } from '../helpers/crypto/property.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { makeAction, principalNamed } from '../helpers/vault/actions.ts'

const casey = principalNamed('casey')
const admin = principalNamed('admin')
const allowed: Admission = { allowed: true }
const suspended: Admission = { allowed: false, code: 'principal_suspended' }

async function startBudgets(t: Test) {
  const vault = await createVaultDatabase(t)
  const owner = await vault.connect()
  const log = createActionLog(vault.database('tokenvault_api', 1))
  const take = async (charge: Charge, principal: Principal = casey) =>
    (await log.commit(makeAction('take', { principal, charge }))).admission
  const lift = async (principal: Principal, by: Principal = admin) =>
    (await log.commit(makeAction('lift', { principal: by, change: { kind: 'lift_suspension', ...principal } })))
      .admission
  /** As if all that was spent so far had been spent earlier. */
  const passSeconds = (seconds: number) =>
    // By way of another century, because no two slots may meet even for a moment.
    owner.query(`UPDATE pii_vault.spending SET slot = slot - interval '100 years';
      UPDATE pii_vault.spending SET slot = slot + interval '100 years' - interval '${seconds} seconds'`)
  const suspensions = createSuspensionReader(vault.database('tokenvault_api', 1))
  return { ...vault, owner, log, take, lift, passSeconds, suspensions }
}

const perMinute = (values: number) => ({ values, perMinute: 10, perDay: 1000 })

t.test('a minute holds at most the budget, and what is refused costs nothing', async t => {
  const { take } = await startBudgets(t)
  t.strictSame(await take(perMinute(6)), allowed)
  t.match(await take(perMinute(5)), { code: 'budget_exceeded', window: 'minute' })
  t.strictSame(await take(perMinute(4)), allowed)
  t.match(await take(perMinute(1)), { code: 'budget_exceeded', window: 'minute' })
  t.strictSame(await take(perMinute(0)), allowed, 'an action that takes nothing')
  t.strictSame(await take({ values: 5 }), allowed, 'a role without a limit')
  t.strictSame(await take(perMinute(10), principalNamed('casey', 'https://other.test')), allowed, 'another principal')
})

t.test(
  'a slot counts whole while any part of it is in the window, and the time told is when the action fits',
  async t => {
    const { take, passSeconds, owner } = await startBudgets(t)
    t.strictSame(await take(perMinute(7)), allowed)
    await passSeconds(20)
    t.strictSame(await take(perMinute(3)), allowed)
    const refusal = (await take(perMinute(2))) as { retryAfterSeconds: number }
    // The older slot began 20 to 30 seconds ago, and leaves 70 seconds after it began.
    t.ok(refusal.retryAfterSeconds >= 40 && refusal.retryAfterSeconds <= 50, `${refusal.retryAfterSeconds} s`)
    const later = (await take(perMinute(8))) as { retryAfterSeconds: number }
    t.ok(later.retryAfterSeconds >= 60 && later.retryAfterSeconds <= 70, `${later.retryAfterSeconds} s for both slots`)
    t.match(await take(perMinute(11)), { window: 'minute', retryAfterSeconds: 60 }, 'more than the budget never fits')
    await passSeconds(30)
    t.match(
      await take(perMinute(2)),
      { code: 'budget_exceeded' },
      'of the older slot a part may be in the minute still',
    )
    await passSeconds(refusal.retryAfterSeconds - 30)
    t.strictSame(await take(perMinute(2)), allowed)
    t.match(await take(perMinute(6)), { code: 'budget_exceeded' })

    await owner.query('DELETE FROM pii_vault.spending')
    const minutes = await owner.query(`SELECT pii_vault.seconds_until_fit(gen_random_uuid(), 10, '1 minute', 10, 1, 10,
    '2026-01-02 03:04:09.5+00') AS seconds`)
    t.strictSame(minutes.rows, [{ seconds: 61 }], 'rounded up')
  },
)

t.test('who hits the budget of a day is suspended from everything, until an administrator lifts it', async t => {
  const { take, lift, passSeconds, suspensions, log } = await startBudgets(t)
  const daily = (values: number) => ({ values, perMinute: 8, perDay: 10 })
  t.strictSame(await take(daily(8)), allowed)
  await passSeconds(3600)
  t.strictSame(await take(daily(2)), allowed, 'exactly the budget')
  const refusal = (await take(daily(1))) as { retryAfterSeconds: number }
  t.match(refusal, { allowed: false, code: 'budget_exceeded', window: 'day' })
  t.ok(
    refusal.retryAfterSeconds >= 23 * 3600 - 5 && refusal.retryAfterSeconds <= 24 * 3600,
    `${refusal.retryAfterSeconds} s`,
  )
  t.strictSame(await take(daily(0)), suspended)
  t.strictSame((await log.commit(makeAction('no charge'))).admission, suspended)
  t.strictSame(await lift(casey, casey), suspended, 'and lifts nothing')
  t.strictSame(await take(daily(1), principalNamed('casey', 'https://other.test')), allowed)
  t.match(await suspensions.listSuspensions({ limit: 10 }), [
    { issuer: casey.issuer, subject: 'casey', suspendedAt: Date },
  ])

  t.strictSame(await lift(principalNamed('casey', 'https://other.test')), {
    allowed: false,
    code: 'suspension_unknown',
  })
  t.strictSame(await lift(casey), allowed)
  t.strictSame(await lift(casey), { allowed: false, code: 'suspension_unknown' })
  t.strictSame(await suspensions.listSuspensions({ limit: 10 }), [])
  t.strictSame(await take(daily(8)), allowed, 'what was spent is forgiven')
})

t.test('a day slides by hours, and one call above the budget of a day suspends at once', async t => {
  const { take, passSeconds, suspensions } = await startBudgets(t)
  const daily = (values: number) => ({ values, perDay: 10 })
  t.strictSame(await take(daily(10)), allowed)
  await passSeconds(24 * 3600)
  t.match(await take(daily(0)), allowed)
  t.match(await take(daily(1), principalNamed('other')), allowed)
  await passSeconds(3600)
  t.strictSame(await take(daily(10)), allowed, 'the last hour that had a part in the day is gone')
  t.match(await take(daily(11), principalNamed('greedy')), { window: 'day', retryAfterSeconds: 86_400 })
  t.match(await suspensions.listSuspensions({ limit: 10 }), [{ subject: 'greedy' }])
})

t.test('suspending, refusing and lifting inside one group take effect in its order', async t => {
  const { log } = await startBudgets(t)
  const daily = { values: 6, perDay: 10 }
  const lift = { kind: 'lift_suspension', ...casey } as const
  const committed = await Promise.all(
    [
      makeAction('0'), // goes alone, so that the others share one group
      makeAction('1', { charge: daily }),
      makeAction('2', { charge: daily }),
      makeAction('3', { charge: { values: 1 } }),
      makeAction('4', { charge: daily, principal: principalNamed('other') }),
      makeAction('5', { change: lift, principal: admin }),
      makeAction('6', { charge: daily }),
      makeAction('7', { charge: daily }),
      makeAction('8', { change: lift, principal: admin }),
      makeAction('9', { change: lift, principal: admin }),
    ].map(action => log.commit(action)),
  )
  t.strictSame(
    committed.map(({ admission }) => (admission.allowed ? 'allowed' : admission.code)),
    [
      ...['allowed', 'allowed', 'budget_exceeded', 'principal_suspended', 'allowed'],
      ...['allowed', 'allowed', 'budget_exceeded', 'allowed', 'suspension_unknown'],
    ],
  )
})

t.test('however actions are grouped, they are admitted as one after the other would be', async t => {
  const { log, owner } = await startBudgets(t)
  const chargeOf = fc.record({
    subject: fc.constantFrom('a', 'b', 'c'),
    values: fc.nat(6),
    perMinute: fc.option(fc.nat(20), { nil: undefined }),
    perDay: fc.option(fc.nat(40), { nil: undefined }),
  })
  let run = 0
  await checkProperty(
    t,
    'the same admissions',
    fc.asyncProperty(fc.array(chargeOf, { minLength: 1, maxLength: 30 }), async charges => {
      run += 1
      const spent = new Map<string, number>()
      const out = new Set<string>()
      const expected = charges.map(({ subject, values, perMinute, perDay }) => {
        const sum = (spent.get(subject) ?? 0) + values
        if (out.has(subject)) return 'principal_suspended'
        if (values > 0 && perDay !== undefined && sum > perDay) {
          out.add(subject)
          return 'day'
        }
        if (values > 0 && perMinute !== undefined && sum > perMinute) return 'minute'
        spent.set(subject, sum)
        return 'allowed'
      })
      const committed = await Promise.all(
        charges.map(({ subject, ...charge }) =>
          log.commit(makeAction('r', { principal: principalNamed(`${subject}-${run}`), charge })),
        ),
      )
      deepEqual(
        committed.map(({ admission }) => (admission.allowed ? 'allowed' : (admission.window ?? admission.code))),
        expected,
      )
    }),
    40,
  )
  const { rows } = await owner.query(`SELECT sum("values") FILTER (WHERE slot_seconds = 10) =
    sum("values") FILTER (WHERE slot_seconds = 3600) AS same FROM pii_vault.spending`)
  t.strictSame(rows, [{ same: true }])
})

t.test('slots that left their windows are removed as others come', async t => {
  const { take, passSeconds, owner } = await startBudgets(t)
  for (let n = 0; n < 30; n++) await take({ values: 1 }, principalNamed(`gone-${n}`))
  await passSeconds(71)
  await take({ values: 1 })
  const slots = async () =>
    (await owner.query('SELECT slot_seconds, count(*)::int FROM pii_vault.spending GROUP BY 1 ORDER BY 1')).rows
  t.strictSame(await slots(), [
    { slot_seconds: 10, count: 1 },
    { slot_seconds: 3600, count: 31 },
  ])
  await passSeconds(25 * 3600)
  await take({ values: 1 })
  t.strictSame(await slots(), [
    { slot_seconds: 10, count: 1 },
    { slot_seconds: 3600, count: 1 },
  ])
})
