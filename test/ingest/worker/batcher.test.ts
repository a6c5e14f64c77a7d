import t from 'tap'
import { createBatcher } from '../../../src/ingest/worker/batcher.ts'
import { received } from '../../helpers/queue/events.ts'

const never = 2 ** 31 - 1
const some = (count: number, body = '') => Array.from({ length: count }, (_, n) => received(`m${n}`, body))

function build({ messages = 5, characters = 1000, milliseconds = never } = {}) {
  const stop = new AbortController()
  return { stop, batcher: createBatcher({ messages, characters, milliseconds, stop: stop.signal }) }
}

/** Whether a promise is settled once all that is ready has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol()
  return (await Promise.race([promise, new Promise(resolve => setImmediate(resolve, pending))])) !== pending
}

t.test('a full batch is cut at once, exactly, and the rest waits', async t => {
  const { batcher, stop } = build()
  const first = batcher.next()
  batcher.add(some(3))
  t.notOk(await isSettled(first), 'not full, not ripe')
  batcher.add(some(4))
  t.equal((await first)?.length, 5)
  const second = batcher.next()
  t.notOk(await isSettled(second))
  stop.abort()
  t.equal((await second)?.length, 2, 'a stopping worker waits for nothing')
  batcher.close()
  t.equal(await batcher.next(), undefined)
})

t.test('a batch that does not fill is taken after its time', async t => {
  const { batcher } = build({ milliseconds: 5 })
  batcher.add(some(1))
  t.equal((await batcher.next())?.length, 1)
  batcher.close()
  t.equal(await batcher.next(), undefined)
})

t.test('a batch is full by text too, and holds at least one message', async t => {
  const { batcher } = build({ characters: 100 })
  batcher.add(some(3, 'x'.repeat(60)))
  t.equal((await batcher.next())?.length, 2)
  batcher.add(some(1, 'x'.repeat(500)))
  t.equal((await batcher.next())?.length, 2)
  batcher.add(some(1, 'x'.repeat(500)))
  t.equal((await batcher.next())?.length, 1)
})

t.test('receivers find no room while a full batch waits, so what is in flight is bounded', async t => {
  const { batcher, stop } = build()
  await batcher.room()
  batcher.add(some(10))
  const room = batcher.room()
  t.notOk(await isSettled(room))
  await batcher.next()
  t.notOk(await isSettled(room), 'another full batch waits')
  await batcher.next()
  t.ok(await isSettled(room))
  batcher.add(some(5))
  const waiting = batcher.room()
  stop.abort()
  await waiting
  t.equal((await batcher.next())?.length, 5, 'a stop lets receivers go')
})

t.test('what is added after a stop still gets its batch', async t => {
  const { batcher, stop } = build()
  stop.abort()
  const next = batcher.next()
  batcher.add(some(1))
  t.equal((await next)?.length, 1)
  const last = batcher.next()
  batcher.close()
  t.equal(await last, undefined)
})
