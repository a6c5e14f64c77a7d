import t from 'tap'
import { backoff, backoffMilliseconds, pause, repeat } from '../../src/concurrency/waiting.ts'

t.test('waits double up to the longest, and chance takes off a half at most', async t => {
  const waits = Array.from({ length: 9 }, (_, n) => backoff(n + 1, { first: 10, longest: 900, jitter: 0 }))
  t.strictSame(waits, [10, 20, 40, 80, 160, 320, 640, 900, 900])
  t.equal(backoff(5_000, { first: 10, longest: 900, jitter: 0 }), 900, 'however many attempts')
  const jittered = Array.from({ length: 1_000 }, () => backoffMilliseconds(3))
  t.ok(jittered.every(wait => Number.isInteger(wait) && wait >= 200 && wait <= 400))
  t.ok(new Set(jittered).size > 10)
})

t.test('a pause ends when its signal is aborted, and is none where it was before', async t => {
  const stopping = new AbortController()
  const paused = pause(2 ** 30, stopping.signal)
  stopping.abort()
  await paused
  await pause(2 ** 30, stopping.signal)
  t.pass('both resolve')
})

t.test('steps follow each other, each after the wait that the one before asked for, until stopped', async t => {
  const stopping = new AbortController()
  const story: (string | number)[] = []
  let steps = 0
  const step = async () => {
    story.push('begin')
    await new Promise(setImmediate)
    story.push('end')
    if (++steps === 3) stopping.abort()
    return steps
  }
  const wait = async (milliseconds: number) => void story.push(milliseconds)
  await repeat(step, stopping.signal, { wait })
  t.strictSame(story, ['begin', 'end', 1, 'begin', 'end', 2, 'begin', 'end', 3])
})

t.test('the first step may have to wait, and is not taken where it is stopped meanwhile', async t => {
  const stopping = new AbortController()
  const waits: number[] = []
  const step = async () => t.fail('no step') as never
  const wait = async (milliseconds: number) => {
    waits.push(milliseconds)
    stopping.abort()
  }
  await repeat(step, stopping.signal, { wait, firstAfterMilliseconds: 7 })
  t.strictSame(waits, [7])
})

t.test('what a step throws ends it', async t => {
  const failing = async () => {
    throw new RangeError('fault')
  }
  await t.rejects(repeat(failing, new AbortController().signal), { name: 'RangeError' })
})

t.test('an abort ends the wait that is under way', async t => {
  const stopping = new AbortController()
  let steps = 0
  const repeating = repeat(async () => {
    steps++
    return 2 ** 30
  }, stopping.signal)
  await new Promise(setImmediate)
  stopping.abort()
  await repeating
  t.equal(steps, 1)
})
