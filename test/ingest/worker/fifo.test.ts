import { randomInt } from 'node:crypto'
import type { Test } from 'tap'
import t from 'tap'
import type { MessageQueue } from '../../../src/ingest/ports.ts'
import { loginEvent } from '../../helpers/queue/events.ts'
import { createFifoMemoryQueue } from '../../helpers/queue/fifo-memory-queue.ts'
import { createMemoryStore, type MemoryStore } from '../../helpers/queue/memory-store.ts'
import { buildWorker, type Setup, unavailable } from '../../helpers/queue/worker.ts'

// A drain waits for long polls and looks; together they wait once.
t.jobs = 4

type Built = Omit<Awaited<ReturnType<typeof buildWorker>>, 'queue'> & { readonly queue: MessageQueue }
type Build = (setup?: Setup) => Promise<Built>

/** The emulator, which gives one message of a group at a time, and a queue that gives ten as AWS does. */
const queues: Readonly<Record<string, (t: Test) => Build>> = {
  emulator: t => setup => buildWorker(t, { ...setup, attributes: { FifoQueue: 'true' } }),
  'as AWS': t => async setup => {
    const queue = createFifoMemoryQueue()
    const built = await buildWorker(t, { ...setup, queue: real => setup?.queue?.({ ...real, ...queue }) ?? queue })
    return { ...built, queue, count: queue.count }
  },
}

function testOnBoth(title: string, body: (t: Test, build: Build) => Promise<void>) {
  for (const [name, build] of Object.entries(queues)) {
    t.test(`${title} (${name})`, { buffered: true }, t => body(t, build(t)))
  }
}

/** `count` events of each group, interleaved: user `a-1` is the first of group `a`. */
function interleaved(groups: readonly string[], count: number) {
  return Array.from({ length: count }, (_, n) =>
    groups.map(groupId => ({ groupId, body: JSON.stringify(loginEvent(n, { user_id: `${groupId}-${n}` })) })),
  ).flat()
}

/** What was stored of a group, in the order in which it was. */
function storedOf(store: MemoryStore, group: string): number[] {
  return store.rows.flatMap(({ userId }) => (userId.startsWith(`${group}-`) ? [Number(userId.split('-')[1])] : []))
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n)
}

/** Released at once instead of after seconds, so that the emulator's own clock plays no part. */
const withoutDelay: Setup['queue'] = queue => ({ ...queue, release: messages => queue.release(messages, 0) })

testOnBoth('each group is stored in order, however batches are cut', async (t, build) => {
  const groups = ['a', 'b', 'c', 'd', 'e']
  const { queue, drain, store, count } = await build({ options: { receivers: 3, batchMessages: 4 } })
  await queue.send(interleaved(groups, 30))
  t.match(await drain(), { received: 150, stored: 150, duplicates: 0, released: 0 })
  for (const group of groups) t.same(storedOf(store, group), upTo(30), group)
  t.equal(count(), 0)
})

testOnBoth('a message that is tried again is not overtaken by its group, and holds up no other', async (t, build) => {
  let faults = 6
  const store = createMemoryStore((commit, messages) => {
    if (messages.some(({ rows }) => rows.some(({ userId }) => userId === 'a-2')) && faults-- > 0)
      throw new Error('fault')
    return commit()
  })
  const { queue, runUntil, count, logged } = await build({ store, queue: withoutDelay })
  await queue.send(interleaved(['a', 'b'], 5))
  t.match(await runUntil(() => count() === 0), { stored: 10, duplicates: 0 })
  t.same(storedOf(store, 'a'), upTo(5))
  t.same(storedOf(store, 'b'), upTo(5))
  if (t.name.includes('AWS')) t.match(logged.join(), /messages_held_back/)
})

testOnBoth('a store that is away and comes back changes no order', async (t, build) => {
  let failures = 0
  const store = createMemoryStore(commit => {
    if (failures++ % 3 < 2) throw unavailable()
    return commit()
  })
  const { queue, runUntil } = await build({ store, options: { batchMessages: 3 } })
  await queue.send(interleaved(['a', 'b', 'c'], 8))
  t.match(await runUntil(({ stored }) => stored === 24), { received: 24, stored: 24 })
  for (const group of ['a', 'b', 'c']) t.same(storedOf(store, group), upTo(8), group)
})

testOnBoth('a stop in the middle gives a group back in order', async (t, build) => {
  const stopping = new AbortController()
  let isAway = true
  const store = createMemoryStore(commit => {
    if (!isAway) return commit()
    stopping.abort()
    throw unavailable()
  })
  // An abandoned long poll may take messages with it for a visibility timeout.
  const { queue, worker, runUntil } = await build({ store, options: { visibilityTimeoutSeconds: 2 } })
  await queue.send(interleaved(['a', 'b'], 4))
  await worker.run({ drain: false, signal: stopping.signal })
  t.equal(store.rows.length, 0)
  isAway = false
  await runUntil(({ stored }) => stored === 8)
  for (const group of ['a', 'b']) t.same(storedOf(store, group), upTo(4), group)
})

testOnBoth(
  'a message that is refused for ever blocks its group only, and a drain ends all the same',
  async (t, build) => {
    const store = createMemoryStore((commit, messages) => {
      if (messages.some(({ rows }) => rows.some(({ userId }) => userId === 'a-1'))) throw new Error('fault')
      return commit()
    })
    const { queue, drain, count } = await build({ store })
    await queue.send(interleaved(['a', 'b'], 15))
    t.match(await drain(), { stored: 16 })
    t.same(storedOf(store, 'a'), [0])
    t.same(storedOf(store, 'b'), upTo(15))
    t.equal(count(), 14, 'the rest waits for a redrive policy')
  },
)

testOnBoth('deliveries of a group that came again are stored once and in order', async (t, build) => {
  const { queue, runUntil, store, count } = await build({
    intercept: async call => {
      const output = await call.forward()
      if (call.action === 'ReceiveMessage' && output.Messages) output.Messages.push(...output.Messages)
      return { output }
    },
    options: { batchMessages: 3 },
  })
  await queue.send(interleaved(['a', 'b'], 12))
  await runUntil(() => count() === 0)
  for (const group of ['a', 'b']) t.same(storedOf(store, group), upTo(12), group)
})

testOnBoth('faults anywhere change no order and lose nothing', async (t, build) => {
  const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31))
  t.comment(`SEED=${seed}`)
  let state = seed
  const below = (limit: number) => {
    // The numbers of Park and Miller.
    state = (state * 48_271 + 1) % 2_147_483_647
    return state % limit
  }
  const store = createMemoryStore(commit => {
    const draw = below(10)
    if (draw < 3) throw new Error('fault')
    if (draw === 3) throw unavailable()
    return commit()
  })
  const { queue, runUntil, count } = await build({
    store,
    queue: withoutDelay,
    options: { batchMessages: 1 + below(9), receivers: 3 },
  })
  await queue.send(interleaved(['a', 'b', 'c'], 20))
  await runUntil(() => count() === 0)
  for (const group of ['a', 'b', 'c']) t.same(storedOf(store, group), upTo(20), group)
})
