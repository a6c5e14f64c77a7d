import t from 'tap'
import { inTier, makePlan, seed, until } from '../helpers/faults/plan.ts'
import { createFaultWorld, scenario } from '../helpers/faults/world.ts'
import { poison } from '../helpers/queue/events.ts'

const messages = inTier({ short: 2_000, long: 10_000 })

t.test(`${poison.length} kinds of poison at 1 % of ${messages}, FAULT_SEED=${seed}`, scenario, async t => {
  const plan = makePlan()
  const world = await createFaultWorld(t, { plan, duplicates: 0.1 })
  // At least one of each kind.
  const portions = 20
  const poisoned = Math.max(1, Math.round(messages / 100 / portions))
  for (let portion = 0; portion < portions; portion++) {
    await world.sendLogins(messages / portions - poisoned)
    await world.sendPoison(poisoned)
  }
  const worker = world.start({ LOG_LEVEL: 'debug' })
  await until('everything took effect', () => world.isDone())
  t.equal((await worker.end('SIGTERM')).code, 0)
  await world.checkTruth(t)

  const { rows } = await world.admin.query(
    'SELECT reason, count(*)::int AS count FROM pii_vault.quarantine GROUP BY reason ORDER BY reason',
  )
  const expected: Record<string, number> = {}
  for (let n = 0; n < portions * poisoned; n++) {
    const { reason } = poison[n % poison.length]!
    expected[reason] = (expected[reason] ?? 0) + 1
  }
  t.strictSame(Object.fromEntries(rows.map(({ reason, count }) => [reason, count])), expected, 'each with its reason')

  const plaintext = /canary|593-47|user-\d|10\.0\.\d/
  t.notMatch(worker.output(), plaintext, 'logs hold counts and reasons')
  const { rows: stored } = await world.admin.query(
    `SELECT concat_ws(' ', q.*, encode(sealed, 'escape')) AS text FROM pii_vault.quarantine AS q`,
  )
  t.notMatch(stored.map(({ text }) => text).join('\n'), plaintext, 'and the quarantine holds sealed bodies')
})
