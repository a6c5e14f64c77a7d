import t, { type Test } from 'tap'
import { TokenvaultError } from '../../src/errors.ts'
import { createWorker, type WorkerOptions, type WorkerTotals } from '../../src/ingest/worker.ts'
import type { SqsQueue } from '../../src/queue/sqs-queue.ts'
import { freshTokenizer, loginBodies, loginEvent, poison } from '../helpers/queue-events.ts'
import { createMemoryStore, type MemoryStore } from '../helpers/queue-memory-store.ts'
import type { Intercept } from '../helpers/queue-proxy.ts'
import { startQueue } from '../helpers/queue-server.ts'

const tokenizer = freshTokenizer()
const unavailable = () => new TokenvaultError('store_unavailable', 'as the test wants it')
const running = () => new AbortController().signal

interface Setup {
  readonly intercept?: Intercept
  readonly store?: MemoryStore
  readonly queue?: (queue: SqsQueue) => WorkerOptions['queue']
  readonly attributes?: Record<string, string>
  readonly options?: Partial<WorkerOptions>
}

async function build(t: Test, setup: Setup = {}) {
  const { intercept, store = createMemoryStore(), attributes = {} } = setup
  const server = await startQueue(t, { attributes, callTimeoutMilliseconds: 500, ...(intercept && { intercept }) })
  const worker = createWorker({
    queue: setup.queue?.(server.queue) ?? server.queue,
    tokenizer,
    store,
    log: server.log,
    receivers: 2,
    batchMessages: 100,
    batchMilliseconds: 20,
    visibilityTimeoutSeconds: 30,
    ...setup.options,
  })
  const drain = () => worker.run({ drain: true, signal: running() })
  return { ...server, worker, store, drain }
}

/** Passes calls on, but lets `DeleteMessageBatch` be answered by the test. */
function onDelete(answer: Intercept): Intercept {
  return async call => (call.action === 'DeleteMessageBatch' ? answer(call) : { output: await call.forward() })
}

t.test('a drain stores every event once, quarantines what is none, empties the queue and ends', async t => {
  const progress: WorkerTotals[] = []
  const { queue, drain, store, count, logged } = await build(t, {
    options: { onBatch: totals => progress.push(totals) },
  })
  await queue.send([
    ...loginBodies(250),
    ...poison.map(({ body }) => body).filter(body => !body.includes('\0')),
    JSON.stringify([loginEvent(900), { foo: 'canary-neighbour' }, loginEvent(901)]),
  ])
  const totals = await drain()
  t.match(totals, { received: 263, stored: 252, quarantined: 13, duplicates: 0, released: 0, undeleted: 0 })
  t.same(progress.at(-1), totals)
  t.equal(store.rows.length, 252)
  t.same(
    store.quarantined.map(({ reason }) => reason).sort(),
    [...poison.map(({ reason }) => reason), 'user_id_missing'].sort(),
  )
  t.equal(count(), 0)
  t.notMatch(logged.join(), /canary|593-47|10\.0\.0/, 'logs hold counts and reasons')
  t.match(await drain(), { received: 0, batches: 0 }, 'an empty queue is drained at once')
})

t.test('duplicated deliveries take effect once', async t => {
  // The server forgets that it delivered: every message comes at least twice, some in one batch.
  const { queue, drain, store, count } = await build(t, {
    intercept: async call => {
      const output = await call.forward()
      if (call.action === 'ReceiveMessage' && output.Messages) output.Messages.push(...output.Messages)
      return { output }
    },
    options: { batchMessages: 15 },
  })
  await queue.send(loginBodies(100))
  t.match(await drain(), { received: 200, stored: 100, duplicates: 100 })
  t.equal(store.rows.length, 100)
  t.equal(count(), 0)
})

t.test('a message whose delete fails comes again, changes nothing and is deleted with its newest handle', async t => {
  let refused = 0
  const { queue, drain, store, count } = await build(t, {
    intercept: onDelete(async ({ input, forward }) => {
      if (refused >= 4) return { output: await forward() }
      refused++
      const Failed = input.Entries.map(({ Id }: { Id: string }) => ({ Id, Code: 'InternalError', SenderFault: false }))
      return { output: { Failed } }
    }),
    options: { visibilityTimeoutSeconds: 1 },
  })
  await queue.send(loginBodies(5))
  const totals = await drain()
  t.match(totals, { stored: 5, undeleted: 5, duplicates: totals.received - 5 })
  t.ok(totals.received >= 10)
  t.equal(store.rows.length, 5)
  t.equal(count(), 0)
})

t.test('a commit whose outcome is unknown is repeated and takes effect once', async t => {
  let commits = 0
  const store = createMemoryStore(commit => {
    const counts = commit()
    if (commits++ % 2 === 0) throw unavailable()
    return counts
  })
  const { queue, drain, count } = await build(t, { store })
  await queue.send(loginBodies(50))
  t.match(await drain(), { received: 50, released: 0 })
  t.equal(store.rows.length, 50)
  t.equal(count(), 0)
})

t.test(
  'while the store is away messages wait in hand, unread ones in the queue, and no receive count is spent',
  async t => {
    let failures = 0
    const store = createMemoryStore(commit => {
      if (failures++ < 12) throw unavailable()
      return commit()
    })
    const counts: number[] = []
    const { queue, worker, logged } = await build(t, {
      store,
      queue: queue => ({
        ...queue,
        async receive(options) {
          const messages = await queue.receive(options)
          counts.push(...messages.map(({ receiveCount }) => receiveCount))
          return messages
        },
      }),
      options: { batchMessages: 10 },
    })
    await queue.send(loginBodies(200))
    const abort = new AbortController()
    const stored = Promise.withResolvers<void>()
    const run = createAndWatch()
    await stored.promise
    abort.abort()
    t.match(await run, { stored: 200, duplicates: 0 })
    t.ok(counts.every(count => count === 1))
    t.match(logged.join(), /batch_not_stored/)

    function createAndWatch() {
      const poll = setInterval(() => {
        if (store.rows.length === 200) stored.resolve()
      }, 5)
      t.teardown(() => clearInterval(poll))
      return worker.run({ drain: false, signal: abort.signal })
    }
  },
)

t.test('a drain whose store stays away gives everything back and fails by name', async t => {
  const store = createMemoryStore(() => {
    throw unavailable()
  })
  const { queue, drain, logged } = await build(t, { store })
  await queue.send(loginBodies(20))
  await t.rejects(drain(), { code: 'store_unavailable' })
  console.error(logged.join(''), store); t.match(await queue.depth(), { visible: 20, inFlight: 0 })
  t.equal(store.rows.length, 0)
})

t.test('one message that the store refuses goes to the dead-letter queue, and its neighbours are stored', async t => {
  const store = createMemoryStore((commit, effects) => {
    if (effects.some(({ rows }) => rows.some(({ userId }) => userId === 'user-13')))
      throw new Error('canary constraint')
    return commit()
  })
  const { queue, server, worker, logged } = await build(t, {
    store,
    // A minute of backoff is a moment here.
    queue: queue => ({ ...queue, release: messages => queue.release(messages, 0) }),
  })
  const dead = server.createQueue('dead')
  const redrive = JSON.stringify({ deadLetterTargetArn: dead.queueArn, maxReceiveCount: 3 })
  const source = server.createQueue('logins', { attributes: { RedrivePolicy: redrive } })
  t.ok(source)
  await queue.send(loginBodies(40))
  const totals = await worker.run({ drain: true, signal: running() })
  t.match(totals, { stored: 39, released: 3, received: 42 })
  t.equal(server.inspectQueue('dead')!.messages.ready.length, 1)
  t.equal(store.rows.length, 39)
  t.match(logged.join(), /messages_unstorable/)
  t.notMatch(logged.join(), /canary/)
})

t.test('a drain ends though a message that the store refuses stays behind, hidden for its backoff', async t => {
  const store = createMemoryStore((commit, effects) => {
    if (effects.some(({ rows }) => rows.some(({ userId }) => userId === 'user-3'))) throw new Error('constraint')
    return commit()
  })
  const { queue, drain, count } = await build(t, { store })
  await queue.send(loginBodies(8))
  t.match(await drain(), { stored: 7, released: 1 })
  t.equal(count(), 1)
})

t.test('keys that are wrong end the run and blame no message', async t => {
  const broken = {
    ...tokenizer,
    tokenizeValues() {
      throw new TokenvaultError('keyset_incomplete')
    },
  }
  const { queue, drain } = await build(t, { options: { tokenizer: broken } })
  await queue.send(loginBodies(5))
  await t.rejects(drain(), { code: 'keyset_incomplete' })
  t.match(await queue.depth(), { visible: 5, inFlight: 0 })
})

t.test('an abort ends the long polls, stores and deletes what is in hand, then resolves', async t => {
  const abort = new AbortController()
  const { queue, worker, store, count } = await build(t, {
    queue: queue => ({
      ...queue,
      async receive(options) {
        const messages = await queue.receive(options)
        // Received, in no batch yet, and the batch would wait for an hour.
        if (messages.length > 0) abort.abort()
        return messages
      },
    }),
    options: { batchMilliseconds: 3_600_000, batchMessages: 1000, receivers: 3 },
  })
  await queue.send(loginBodies(10))
  const totals = await worker.run({ drain: false, signal: abort.signal })
  t.ok(totals.received > 0)
  t.equal(store.rows.length, totals.received)
  t.equal(count(), 10 - totals.received, 'what was stored was deleted')
  t.match(
    await worker.run({ drain: false, signal: abort.signal }),
    { received: 0 },
    'a run that is stopped before it starts',
  )
})

t.test('hung sockets are given up, and the worker goes on without a restart', async t => {
  let hung = 0
  const { queue, drain, store, count, logged } = await build(t, {
    intercept: async ({ action, forward }) => {
      if (action === 'ReceiveMessage' && hung < 6) {
        hung++
        return 'hang'
      }
      if (action === 'DeleteMessageBatch' && hung < 7) {
        hung++
        return 'hang'
      }
      return { output: await forward() }
    },
  })
  await queue.send(loginBodies(30))
  t.match(await drain(), { stored: 30, duplicates: 0 })
  t.equal(store.rows.length, 30)
  t.equal(count(), 0)
  t.match(logged.join(), /receive_failed/)
})

t.test('a drain whose queue stays away fails by name', async t => {
  const { drain } = await build(t, { intercept: () => ({ status: 400, body: '{"__type":"AccessDenied"}' }) })
  await t.rejects(drain(), { code: 'queue_unavailable', message: 'ReceiveMessage: AccessDenied' })
})

t.test(
  'a heartbeat keeps what is held hidden for longer than its visibility timeout, and lets go of what is settled',
  async t => {
    const extended: string[][] = []
    const held = Promise.withResolvers<void>()
    const store = createMemoryStore(async commit => {
      // Three beats are at least one and a half visibility timeouts.
      await held.promise
      return commit()
    })
    const { queue, drain, count } = await build(t, {
      store,
      queue: queue => ({
        ...queue,
        async release(messages, delaySeconds) {
          await queue.release(messages, delaySeconds)
          extended.push(messages.map(({ messageId }) => messageId).sort())
          t.equal(delaySeconds, 1)
          if (extended.length === 3) held.resolve()
        },
      }),
      options: { visibilityTimeoutSeconds: 1 },
    })
    await queue.send(loginBodies(7))
    t.match(await drain(), { received: 7, stored: 7, duplicates: 0, released: 0 }, 'nothing was delivered twice')
    t.equal(count(), 0)
    t.equal(extended.length, 3, 'no beat after the commit')
    for (const ids of extended) t.equal(ids.length, 7)
  },
)

t.test('several workers share a queue without storing anything twice', async t => {
  const store = createMemoryStore()
  const { queue, worker, count } = await build(t, { store, options: { batchMessages: 20 } })
  await queue.send(loginBodies(400))
  const runs = await Promise.all([1, 2, 3].map(() => worker.run({ drain: true, signal: running() })))
  t.equal(
    runs.reduce((sum, { stored }) => sum + stored, 0),
    400,
  )
  t.equal(store.rows.length, 400)
  t.equal(count(), 0)
})
