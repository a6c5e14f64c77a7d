import t from 'tap'
import { inTier, makePlan, seed, until } from '../helpers/faults/plan.ts'
import { createFaultWorld, scenario } from '../helpers/faults/world.ts'

const workerCount = inTier({ short: 4, long: 8 })
const messages = inTier({ short: 2_000, long: 50_000 })

t.test(`${workerCount} workers at once over ${messages} messages, FAULT_SEED=${seed}`, scenario, async t => {
  const plan = makePlan()
  const world = await createFaultWorld(t, { plan, duplicates: 0.1, visibilityTimeoutSeconds: 2 })
  // Few values, so that every batch writes the same originals as its neighbours.
  const values = Array.from({ length: 200 }, (_, n) => ({ ip: `192.0.2.${n}`, device_id: `shared-${n}` }))
  const workers = Array.from({ length: workerCount }, () =>
    world.start({ WORKER_BATCH_MESSAGES: '100', WORKER_RECEIVERS: '2' }),
  )
  await until('all have started', () => workers.every(worker => worker.output().includes('worker_started')))
  await world.sendLogins(messages, () => plan.pick(values))
  await until('everything took effect', () => world.isDone())
  const ends = await Promise.all(workers.map(worker => worker.end('SIGTERM')))
  t.strictSame(
    ends.map(({ code }) => code),
    workers.map(() => 0),
  )
  const stored = workers.map(worker => Number(/(\d+) stored/.exec(worker.output())?.[1]))
  t.pass(`stored by each: ${stored}`)
  t.ok(stored.filter(count => count > 0).length > 1, 'several had a share')
  t.equal(
    stored.reduce((sum, count) => sum + count, 0),
    messages,
    'each row by one of them',
  )
  for (const worker of workers) t.notMatch(worker.output(), /batch_not_stored|SQLSTATE/)

  // What a server process counted is published at the latest when it ends.
  const others = `SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database()
    AND application_name = 'tokenvault worker'`
  await until('the workers are gone', async () => (await world.admin.query(others)).rows[0].count === 0)
  const { rows } = await world.admin.query(
    'SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()',
  )
  t.strictSame(rows, [{ deadlocks: 0 }])
  await world.checkTruth(t)
})
