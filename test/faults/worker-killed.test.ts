import t from 'tap'
import { inTier, makePlan, seed, until } from '../helpers/faults/plan.ts'
import type { CommitFate } from '../helpers/faults/postgres-proxy.ts'
import type { WorkerProcess } from '../helpers/faults/worker.ts'
import { createFaultWorld, scenario } from '../helpers/faults/world.ts'

/** Where a worker is when it is killed, and at which time of getting there at most. */
const moments = {
  /** Its messages are on their way to it. */
  receiving: 60,
  'cut-before': 8,
  'cut-during': 8,
  'cut-after': 8,
  /** Committed, and not deleted. */
  deleting: 60,
  /** Deleted, and it does not know. */
  deleted: 60,
} as const
type Moment = keyof typeof moments

const kills = inTier({ short: 5, long: 100 })
const messages = inTier({ short: 5_000, long: 100_000 })

t.test(`${kills} kill -9 over ${messages} messages, FAULT_SEED=${seed}`, scenario, async t => {
  const plan = makePlan()
  let worker: WorkerProcess | undefined
  let moment: Moment | undefined
  let countdown = 0
  /** Whether this is where the worker dies. */
  const isNow = (here: Moment) => moment === here && --countdown === 0
  const kill = async () => {
    moment = undefined
    await worker?.end('SIGKILL')
  }
  const world = await createFaultWorld(t, {
    plan,
    duplicates: 0.1,
    visibilityTimeoutSeconds: 2,
    commitAsked: (): CommitFate => {
      const here = (['cut-before', 'cut-during', 'cut-after'] as const).find(fate => isNow(fate))
      return here ?? 'pass'
    },
    beforeCut: kill,
    async queueFault({ action, forward }) {
      if (action === 'ReceiveMessage' && isNow('receiving')) await kill()
      if (action !== 'DeleteMessageBatch') return undefined
      if (isNow('deleting')) {
        await kill()
        return 'hang'
      }
      if (!isNow('deleted')) return undefined
      const output = await forward()
      await kill()
      return { output }
    },
  })

  const died: Record<string, number> = {}
  for (let life = 0; life < kills; life++) {
    const next = plan.pick(Object.keys(moments) as Moment[])
    countdown = 1 + plan.below(moments[next])
    moment = next
    const current = world.start({ WORKER_BATCH_MESSAGES: '100', LOG_LEVEL: 'warn' })
    worker = current
    // While it starts: a queue is never silent, and nobody waits for either.
    const poisoned = Math.round(messages / kills / 100)
    await world.sendLogins(messages / kills - poisoned)
    await world.sendPoison(poisoned)
    let isIdle = false
    await until(`death ${life} (${next})`, async () => {
      if (!current.isRunning()) return true
      isIdle = await world.isDone()
      return isIdle
    })
    // It got through all there was before its time came.
    if (isIdle) await kill()
    t.equal((await current.end('SIGKILL')).code, null, `it was killed: ${current.output()}`)
    const where = isIdle ? 'idle' : next
    died[where] = (died[where] ?? 0) + 1
  }

  const last = world.start()
  await until('it has started', () => last.output().includes('worker_started'))
  await until('everything took effect', () => world.isDone())
  t.equal((await last.end('SIGTERM')).code, 0)
  const { total, duplicated } = world.queue.deliveries
  t.pass(`died ${JSON.stringify(died)}; ${total} deliveries, ${duplicated} duplicated`)
  t.ok(duplicated > messages * 0.08)
  await world.checkTruth(t)
})
