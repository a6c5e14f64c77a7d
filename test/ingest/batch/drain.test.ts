import t from 'tap'
import { TokenvaultError } from '../../../src/errors.ts'
import type { WorkerTotals } from '../../../src/ingest/worker/worker.ts'
import { loginBodies, loginEvent, poison } from '../../helpers/queue/events.ts'
import { createMemoryStore } from '../../helpers/queue/memory-store.ts'
import { buildWorker, running, unavailable } from '../../helpers/queue/worker.ts'

// A drain waits for long polls, looks and backoffs; together they wait once.
t.jobs = 8

t.test(
  'a drain stores every event once, quarantines what is none, empties the queue and ends',
  { buffered: true },
  async t => {
    const progress: WorkerTotals[] = []
    const { drain, store, count, logged, send } = await buildWorker(t, {
      options: { onBatch: totals => progress.push(totals) },
    })
    send([
      ...loginBodies(250),
      ...poison.map(({ body }) => body),
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
  },
)

t.test('a drain whose store stays away gives everything back and fails by name', { buffered: true }, async t => {
  const store = createMemoryStore(() => {
    throw unavailable()
  })
  const { queue, drain, send } = await buildWorker(t, { store })
  send(loginBodies(20))
  await t.rejects(drain(), { code: 'store_unavailable' })
  t.match(await queue.depth(), { visible: 20, inFlight: 0 })
  t.equal(store.rows.length, 0)
})

t.test('a drain whose store needs an operator gives everything back at the first try', { buffered: true }, async t => {
  let commits = 0
  const store = createMemoryStore(() => {
    commits++
    throw new TokenvaultError('store_misconfigured', 'a grant is missing')
  })
  const { queue, drain, send, logged } = await buildWorker(t, { store, options: { batchMessages: 20 } })
  send(loginBodies(5))
  await t.rejects(drain(), { code: 'store_misconfigured' })
  t.match(await queue.depth(), { visible: 5, inFlight: 0 })
  t.ok(commits <= 4, 'no batch was tried twice, nor split')
  t.notMatch(logged.join(), 'messages_unstorable')
})

t.test(
  'one message that the store refuses goes to the dead-letter queue, and its neighbours are stored',
  { buffered: true },
  async t => {
    const store = createMemoryStore((commit, messages) => {
      if (messages.some(({ rows }) => rows.some(({ userId }) => userId === 'user-13')))
        throw new Error('canary constraint')
      return commit()
    })
    const deadLetterTargetArn = 'arn:aws:sqs:us-east-1:000000000000:dead'
    const { server, drain, logged, send } = await buildWorker(t, {
      store,
      attributes: { RedrivePolicy: JSON.stringify({ deadLetterTargetArn, maxReceiveCount: 3 }) },
      // A minute of backoff is a moment here.
      queue: queue => ({ ...queue, release: messages => queue.release(messages, 0) }),
    })
    server.createQueue('dead')
    send(loginBodies(40))
    t.match(await drain(), { stored: 39, released: 3, received: 42 })
    t.equal(server.inspectQueue('dead')!.messages.ready.length, 1)
    t.equal(store.rows.length, 39)
    t.match(logged.join(), /messages_unstorable/)
    t.notMatch(logged.join(), /canary/)
  },
)

t.test(
  'a drain ends though a message that the store refuses stays behind, hidden for its backoff',
  { buffered: true },
  async t => {
    const store = createMemoryStore((commit, messages) => {
      if (messages.some(({ rows }) => rows.some(({ userId }) => userId === 'user-3'))) throw new Error('constraint')
      return commit()
    })
    const { drain, count, send } = await buildWorker(t, { store })
    send(loginBodies(8))
    const { stored, released, unstorable } = await drain()
    t.equal(stored, 7)
    t.ok(released >= 1 && unstorable >= 1)
    t.equal(count(), 1)
  },
)

t.test('hung sockets are given up, and the worker goes on without a restart', { buffered: true }, async t => {
  const left = { ReceiveMessage: 2, DeleteMessageBatch: 1 }
  const { drain, store, count, send } = await buildWorker(t, {
    callTimeoutMilliseconds: 1000,
    // What goes astray with a reply that nobody waited for comes again soon.
    options: { visibilityTimeoutSeconds: 3 },
    intercept: async ({ action, forward }) =>
      (action === 'ReceiveMessage' || action === 'DeleteMessageBatch') && left[action]-- > 0
        ? 'hang'
        : { output: await forward() },
  })
  send(loginBodies(30))
  t.match(await drain(), { stored: 30 })
  t.ok(left.ReceiveMessage < 0 && left.DeleteMessageBatch < 0, 'each was tried again')
  t.equal(store.rows.length, 30)
  t.equal(count(), 0)
})

t.test('a drain whose queue stays away fails by name', { buffered: true }, async t => {
  const { drain } = await buildWorker(t, { intercept: () => ({ status: 400, body: '{"__type":"AccessDenied"}' }) })
  await t.rejects(drain(), { code: 'queue_unavailable', message: 'ReceiveMessage: AccessDenied' })
})

t.test('several workers share a queue without storing anything twice', { buffered: true }, async t => {
  const store = createMemoryStore()
  const { worker, count, send } = await buildWorker(t, { store, options: { batchMessages: 20 } })
  send(loginBodies(400))
  const runs = await Promise.all([1, 2, 3].map(() => worker.run({ drain: true, signal: running() })))
  t.equal(
    runs.reduce((sum, { stored }) => sum + stored, 0),
    400,
  )
  t.equal(store.rows.length, 400)
  t.equal(count(), 0)
})
