import t from 'tap'
import { inTier, makePlan, seed, until } from '../helpers/faults/plan.ts'
import { createFaultWorld, scenario } from '../helpers/faults/world.ts'
import type { Answer } from '../helpers/queue/proxy.ts'

interface Entry {
  readonly Id: string
  readonly ReceiptHandle: string
}

// They wait for timeouts most of the time, so they wait together.
t.jobs = 3

const amazon = (type: string) => `{"__type":"com.amazonaws.sqs#${type}","message":"canary-message"}`
const outages: readonly (() => Answer)[] = [
  () => ({ status: 500, body: amazon('InternalFailure') }),
  () => ({ status: 503, body: '<html>canary-html</html>' }),
  () => ({ status: 400, body: amazon('RequestThrottled') }),
  () => ({ status: 403, body: amazon('OverLimit') }),
  () => {
    throw new Error('the connection is cut')
  },
]

t.test(`500s, throttling, cut connections, FAULT_SEED=${seed}`, { ...scenario, buffered: true }, async t => {
  const plan = makePlan()
  let left = inTier({ short: 100, long: 1000 })
  let empty = inTier({ short: 20, long: 200 })
  let hung = inTier({ short: 1, long: 10 })
  const world = await createFaultWorld(t, {
    plan,
    duplicates: 0.1,
    visibilityTimeoutSeconds: 3,
    queueFault({ action }) {
      if (action === 'ReceiveMessage' && empty > 0 && plan.chance(0.2)) {
        empty--
        return { output: {} }
      }
      if (action === 'ReceiveMessage' && hung > 0 && plan.chance(0.05)) {
        hung--
        return 'hang'
      }
      if (left === 0 || plan.chance(0.5)) return undefined
      left--
      return plan.pick(outages)()
    },
  })
  const worker = world.start({ WORKER_BATCH_MESSAGES: '100' })
  while (left > 0) {
    await world.sendLogins(500)
    await until('a portion took effect', () => world.isDone())
  }
  t.ok(worker.isRunning(), 'without a restart')
  t.equal((await worker.end('SIGTERM')).code, 0)
  t.match(worker.output(), /"event":"receive_failed".*"retryInMs":\d+/, 'it says so and waits before it tries again')
  t.notMatch(worker.output(), /canary/, 'and repeats nothing that the server said')
  await world.checkTruth(t)
})

t.test(`every socket hangs, FAULT_SEED=${seed}`, { ...scenario, buffered: true }, async t => {
  const plan = makePlan()
  const receivers = 3
  let left = receivers
  const world = await createFaultWorld(t, {
    plan,
    queueFault: ({ action }) => (action === 'ReceiveMessage' && left-- > 0 ? 'hang' : undefined),
  })
  await world.sendLogins(200)
  // A draining worker polls for 1 s, so that its calls are given up after 11 s instead of 30.
  const worker = world.start({ WORKER_RECEIVERS: String(receivers) }, ['--drain', '--json'])
  await until('everything took effect', () => world.isDone())
  await until('the drain is over', () => !worker.isRunning())
  t.equal((await worker.end('SIGTERM')).code, 0)
  t.ok(left < 0, 'each hung once, and was tried again')
  await world.checkTruth(t)
})

t.test(`deletes that fail, hang or come too late, FAULT_SEED=${seed}`, { ...scenario, buffered: true }, async t => {
  const plan = makePlan()
  const messages = inTier({ short: 1_000, long: 20_000 })
  const left = inTier({ short: { failed: 40, hung: 2, late: 5 }, long: { failed: 1000, hung: 20, late: 100 } })
  const wanted = { ...left }
  const settledBy = new Map<string, string>()
  /** Handles that the queue did not delete, by message. */
  const failed = new Map<string, string>()
  const calls = { ofFailed: 0, mixed: 0 }
  const tried = { again: 0, afterRedelivery: 0 }
  let stale = 0
  const world = await createFaultWorld(t, {
    plan,
    visibilityTimeoutSeconds: 3,
    async queueFault({ action, input, forward }) {
      if (action !== 'DeleteMessageBatch') return undefined
      const entries: Entry[] = input.Entries
      const isAgain = ({ ReceiptHandle }: Entry) => failed.get(world.queue.messageOf(ReceiptHandle)!) === ReceiptHandle
      if (entries.some(isAgain)) calls[entries.every(isAgain) ? 'ofFailed' : 'mixed']++
      for (const { ReceiptHandle } of entries) {
        const id = world.queue.messageOf(ReceiptHandle)!
        if (failed.has(id)) tried[failed.get(id) === ReceiptHandle ? 'again' : 'afterRedelivery']++
        failed.delete(id)
      }
      const kind = plan.pick(['failed', 'hung', 'late', 'none', 'none'] as const)
      if (kind === 'hung' && left.hung > 0) {
        left.hung--
        return 'hang'
      }
      const isLate = kind === 'late' && left.late > 0
      if (isLate) {
        left.late--
        // Held back until the queue has given one of them again; where the worker has no room for it, until its time is over.
        await until('a message comes again', () => entries.some(isStale), 5).catch(() => {})
      }
      const isFailing = kind === 'failed' && left.failed > 0
      if (isFailing) left.failed--
      const failing = new Set(isFailing ? entries.filter(() => plan.chance(0.5)) : [])
      const deleted = entries.filter(entry => !failing.has(entry))
      for (const { ReceiptHandle } of failing) failed.set(world.queue.messageOf(ReceiptHandle)!, ReceiptHandle)
      for (const entry of deleted) {
        if (isStale(entry)) stale++
        else settledBy.set(world.queue.messageOf(entry.ReceiptHandle)!, entry.ReceiptHandle)
      }
      if (deleted.length > 0) await forward({ ...input, Entries: deleted })
      return {
        output: {
          Successful: deleted.map(({ Id }) => ({ Id })),
          Failed: [...failing].map(({ Id }) => ({ Id, Code: 'InternalError', SenderFault: plan.chance(0.5) })),
        },
      }
    },
  })
  const isStale = ({ ReceiptHandle }: Entry) =>
    world.queue.newestHandle(world.queue.messageOf(ReceiptHandle)!) !== ReceiptHandle

  const worker = world.start({ WORKER_BATCH_MESSAGES: '100' })
  while (Object.values(left).some(count => count > 0) || world.queue.sent.size < messages) {
    await world.sendLogins(250)
    await until('a portion took effect', () => world.isDone())
  }
  t.equal((await worker.end('SIGTERM')).code, 0)
  t.ok(stale > 0, `${JSON.stringify(wanted)}, ${stale} deletes with a handle that was no longer the newest`)
  // A message that is in hand twice may be named by its other batch meanwhile.
  t.ok(calls.ofFailed > 9 * calls.mixed, `what was deleted is not asked for again: ${JSON.stringify(calls)}`)
  t.equal(failed.size, 0, 'what it said it had not, was')
  t.ok(tried.again > 9 * tried.afterRedelivery, `at once, not when it came again: ${JSON.stringify(tried)}`)
  t.equal(settledBy.size, world.queue.sent.size, 'each message went by its newest handle')
  for (const [id, handle] of settledBy) if (world.queue.newestHandle(id) !== handle) t.fail(`${id} by an older handle`)
  await world.checkTruth(t)
})
