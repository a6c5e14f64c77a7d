import t from 'tap'
import { inTier, makePlan, seed, until } from '../helpers/faults/plan.ts'
import { createFaultWorld, scenario } from '../helpers/faults/world.ts'

const cuts = inTier({ short: 40, long: 1000 })
const fates = ['cut-before', 'cut-during', 'cut-after'] as const

t.test(`${cuts} cuts around COMMIT, FAULT_SEED=${seed}`, scenario, async t => {
  const plan = makePlan()
  const made = { 'cut-before': 0, 'cut-during': 0, 'cut-after': 0 }
  let left = cuts
  let isAtWork = false
  const world = await createFaultWorld(t, {
    plan,
    duplicates: 0.1,
    commitAsked: () => {
      if (left === 0 || !isAtWork || plan.chance(0.65)) return 'pass'
      left--
      const fate = plan.pick(fates)
      made[fate]++
      return fate
    },
  })
  const worker = world.start({ WORKER_BATCH_MESSAGES: '10', WORKER_BATCH_MILLISECONDS: '20', LOG_LEVEL: 'warn' })
  // A start that is cut ends the process, which its supervisor starts again: that is another test.
  await world.sendLogins(1)
  await until('the worker is at work', () => world.isDone())
  isAtWork = true
  // Small batches, and more of them until the last cut was made.
  while (left > 0) {
    await world.sendLogins(cuts * 10)
    await world.sendPoison(2)
    await until('the batches were cut or stored', async () => left === 0 || (await world.isDone()))
  }
  await until('everything took effect', () => world.isDone())
  t.equal((await worker.end('SIGTERM')).code, 0, 'one worker went through all of it')
  t.strictSame(made['cut-before'] + made['cut-during'] + made['cut-after'], cuts)
  t.pass(`${JSON.stringify(made)} over ${world.queue.sent.size} messages`)
  await world.checkTruth(t)
})
