import t from 'tap'
import type { Wait } from '../../src/concurrency/waiting.ts'
import { TokenvaultError } from '../../src/errors.ts'
import { followLog, startCheckpoints } from '../../src/publish/schedules.ts'
import { MoodySink, startEvidence } from '../helpers/evidence/evidence.ts'
import { createTestLog } from '../helpers/queue/server.ts'

/** Time that passes when the test says so. */
function createClock() {
  const waits: number[] = []
  let release = () => {}
  let started = Promise.withResolvers<void>()
  const wait: Wait = (milliseconds, signal) => {
    waits.push(milliseconds)
    const { promise, resolve } = Promise.withResolvers<void>()
    release = resolve
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
    started.resolve()
    return promise
  }
  return {
    wait,
    waits,
    /** Resolves when the schedule waits. */
    idle: () => started.promise,
    /** Lets the time pass, and waits until the schedule waits again. */
    async tick() {
      await started.promise
      started = Promise.withResolvers()
      release()
      await started.promise
    },
  }
}

t.test('checkpoints are made at once, after each interval and once more when stopped', async t => {
  const { startMaker, append, published } = await startEvidence(t)
  const clock = createClock()
  const { log, logged } = createTestLog()
  await append(1)
  const schedule = startCheckpoints({
    makeCheckpoint: startMaker(),
    intervalMilliseconds: 60_000,
    log,
    wait: clock.wait,
  })
  await clock.idle()
  t.strictSame([...published().keys()], [1])
  await append(1)
  await clock.tick()
  await clock.tick()
  t.strictSame([...published().keys()], [1, 2])
  await append(1)
  await schedule.stop()
  t.strictSame([...published().keys()], [1, 2, 3])
  t.ok(clock.waits.every(milliseconds => milliseconds === 60_000))
  t.strictSame(logged, [])
})

t.test('by itself it waits for its interval', async t => {
  const sink = new MoodySink()
  const { promise: thrice, resolve } = Promise.withResolvers<void>()
  const makeCheckpoint = async () => {
    await sink.publish({ treeSize: sink.asked })
    if (sink.asked === 3) resolve()
    return undefined
  }
  // An unreferenced timer keeps nobody up, so the test does.
  const awake = setInterval(() => {}, 1000)
  const schedule = startCheckpoints({ makeCheckpoint, intervalMilliseconds: 1, log: createTestLog().log })
  await thrice
  await schedule.stop()
  const { asked } = sink
  clearInterval(awake)
  await new Promise(setImmediate)
  t.equal(sink.asked, asked, 'none after the last')
})

t.test('a failure is logged when it begins, changes and ends, and tried again ever more slowly', async t => {
  const { log, logged } = createTestLog()
  const clock = createClock()
  const sink = new MoodySink()
  let size = 0
  const makeCheckpoint = async () => {
    await sink.publish({ treeSize: size++ })
    return undefined
  }
  const schedule = startCheckpoints({ makeCheckpoint, intervalMilliseconds: 10_000, log, wait: clock.wait })
  await clock.idle()
  const fail = async (failure: unknown, times: number) => {
    sink.failure = failure
    for (let n = 0; n < times; n++) await clock.tick()
  }
  const lines = () => logged.splice(0).map(line => JSON.parse(line))
  await fail(new TokenvaultError('checkpoint_unavailable', 'PutObject: ECONNREFUSED'), 6)
  t.match(lines(), [{ level: 'warn', event: 'checkpoint_failed', err: { code: 'checkpoint_unavailable' } }])
  t.strictSame(clock.waits.splice(0), [10_000, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
  await fail(new TokenvaultError('checkpoint_unavailable', 'PutObject: AccessDenied'), 2)
  t.match(lines(), [{ level: 'warn', err: { message: 'PutObject: AccessDenied' } }])
  for (let n = 300; n < 303; n++) await fail(new TokenvaultError('audit_invalid', `the log of ${n} events`), 1)
  t.match(lines(), [{ level: 'error', err: { code: 'audit_invalid', message: 'the log of 300 events' } }])
  await fail(new RangeError('canary'), 2)
  const [unexpected, ...others] = lines()
  t.match(unexpected, { level: 'error', err: { type: 'RangeError' } })
  t.notMatch(JSON.stringify(unexpected), /canary/)
  t.strictSame(others, [])
  await fail(undefined, 2)
  t.match(lines(), [{ level: 'info', event: 'checkpoints_recovered' }])
  t.equal(clock.waits.at(-1), 10_000)
  await schedule.stop()
  t.strictSame(lines(), [])
})

t.test('stopping during a checkpoint waits for it, and makes one after it', async t => {
  const clock = createClock()
  const begun = Promise.withResolvers<void>()
  const going = Promise.withResolvers<void>()
  let made = 0
  const makeCheckpoint = async () => {
    begun.resolve()
    await going.promise
    made++
    return undefined
  }
  const schedule = startCheckpoints({
    makeCheckpoint,
    intervalMilliseconds: 1,
    log: createTestLog().log,
    wait: clock.wait,
  })
  await begun.promise
  const stopping = schedule.stop()
  going.resolve()
  await stopping
  t.equal(made, 2)
})

t.test(
  'the index is brought up to date again and again, and a failure is told when it begins, changes and is over',
  async t => {
    const { log, logged } = createTestLog()
    const refused = new TokenvaultError('store_refused', 'the database answered: SQLSTATE 42501')
    const answers = [undefined, refused, refused, new RangeError('canary'), undefined, undefined]
    const all = Promise.withResolvers<void>()
    const awake = setInterval(() => {}, 1000)
    t.teardown(() => clearInterval(awake))
    const indexEvents = async () => {
      const failure = answers.shift()
      if (answers.length === 0) all.resolve()
      if (failure !== undefined) throw failure
    }
    const stop = followLog({ search: { indexEvents }, intervalMilliseconds: 1, log })
    await all.promise
    stop()
    t.match(
      logged.map(line => JSON.parse(line)),
      [
        { level: 'warn', event: 'search_index_failed', err: { code: 'store_refused' } },
        { level: 'error', event: 'search_index_failed', err: { type: 'RangeError' } },
        { level: 'info', event: 'search_index_recovered' },
      ],
    )
    t.notMatch(logged.join(), /canary/)
    t.equal(logged.length, 3)
  },
)

t.test('what fails because its database was taken away when it was stopped is not told', async t => {
  const { log, logged } = createTestLog()
  const stopped = Promise.withResolvers<void>()
  const indexEvents = async () => {
    await stopped.promise
    throw new TokenvaultError('store_unavailable', 'closed')
  }
  const stop = followLog({ search: { indexEvents }, intervalMilliseconds: 1, log })
  stop()
  stopped.resolve()
  await new Promise(setImmediate)
  t.strictSame(logged, [])
})
