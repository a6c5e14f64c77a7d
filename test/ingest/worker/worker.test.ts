import t from 'tap'
import { TokenvaultError } from '../../../src/errors.ts'
import { createTokenizeMessages } from '../../../src/ingest/batch/tokenize-messages.ts'
import { freshVault, loginBodies } from '../../helpers/queue/events.ts'
import { createMemoryStore } from '../../helpers/queue/memory-store.ts'
import type { Intercept } from '../../helpers/queue/proxy.ts'
import { buildWorker, unavailable } from '../../helpers/queue/worker.ts'

/** Passes calls on, but lets `DeleteMessageBatch` be answered by the test. */
function onDelete(answer: Intercept): Intercept {
  return async call => (call.action === 'DeleteMessageBatch' ? answer(call) : { output: await call.forward() })
}

t.test('duplicated deliveries take effect once', async t => {
  // The server forgets that it delivered: every message comes at least twice, some in one batch.
  const { runUntil, store, count, send } = await buildWorker(t, {
    intercept: async call => {
      const output = await call.forward()
      if (call.action === 'ReceiveMessage' && output.Messages) output.Messages.push(...output.Messages)
      return { output }
    },
    options: { batchMessages: 15 },
  })
  send(loginBodies(100))
  t.match(await runUntil(({ stored }) => stored === 100), { received: 200, stored: 100, duplicates: 100 })
  t.equal(store.rows.length, 100)
  t.equal(count(), 0)
})

t.test('a message whose delete fails comes again, changes nothing and is deleted with its newest handle', async t => {
  let refused = 0
  const { runUntil, store, count, send } = await buildWorker(t, {
    intercept: onDelete(async ({ input, forward }) => {
      if (refused >= 4) return { output: await forward() }
      refused++
      const Failed = input.Entries.map(({ Id }: { Id: string }) => ({ Id, Code: 'InternalError', SenderFault: false }))
      return { output: { Failed } }
    }),
    options: { visibilityTimeoutSeconds: 2 },
  })
  send(loginBodies(5))
  const totals = await runUntil(() => count() === 0)
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
  const { runUntil, count, send } = await buildWorker(t, { store })
  send(loginBodies(50))
  t.match(await runUntil(() => count() === 0), { received: 50, released: 0 })
  t.equal(store.rows.length, 50)
  t.equal(count(), 0)
})

t.test('while the store is away or waits for an operator messages wait, and no receive count is spent', async t => {
  let failures = 0
  const store = createMemoryStore(commit => {
    if (failures++ < 12) throw failures % 2 === 0 ? unavailable() : new TokenvaultError('store_misconfigured')
    return commit()
  })
  const counts: number[] = []
  const { runUntil, logged, send } = await buildWorker(t, {
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
  send(loginBodies(200))
  t.match(await runUntil(({ stored }) => stored === 200), { stored: 200, duplicates: 0 })
  t.ok(counts.every(count => count === 1))
  t.match(logged.join(), /batch_not_stored/)
})

t.test('messages that no heartbeat could keep are left, come again and are stored once', async t => {
  let redelivered = false
  const store = createMemoryStore(commit => {
    if (!redelivered) throw unavailable()
    return commit()
  })
  const { runUntil, count, logged, send } = await buildWorker(t, {
    store,
    queue: queue => ({
      ...queue,
      async receive(options) {
        const messages = await queue.receive(options)
        redelivered ||= messages.some(({ receiveCount }) => receiveCount > 1)
        return messages
      },
      async extend() {
        throw new TokenvaultError('queue_unavailable', 'as the test wants it')
      },
    }),
    options: { visibilityTimeoutSeconds: 1 },
  })
  send(loginBodies(6))
  t.match(await runUntil(() => count() === 0), { stored: 6, released: 0 })
  t.equal(store.rows.length, 6)
  t.match(logged.join(), /visibility_not_extended/)
})

t.test('keys that are wrong end the run and blame no message', async t => {
  const { tokenizer, sealQuarantined } = freshVault()
  const broken = {
    ...tokenizer,
    tokenizeValues() {
      throw new TokenvaultError('keyset_incomplete')
    },
  }
  const tokenizeMessages = createTokenizeMessages(broken, sealQuarantined)
  const { queue, drain, send } = await buildWorker(t, { options: { tokenizeMessages } })
  send(loginBodies(5))
  await t.rejects(drain(), { code: 'keyset_incomplete' })
  t.match(await queue.depth(), { visible: 5, inFlight: 0 })
})

t.test('an abort ends the long polls, stores and deletes what is in flight, then resolves', async t => {
  const abort = new AbortController()
  const { worker, store, count, send } = await buildWorker(t, {
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
  send(loginBodies(10))
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

t.test('a heartbeat keeps hidden what is held, and lets go of what is settled', async t => {
  const extended: string[][] = []
  const held = Promise.withResolvers<void>()
  const store = createMemoryStore(async commit => {
    // Three beats are at least one and a half visibility timeouts.
    await held.promise
    return commit()
  })
  const { runUntil, count, send } = await buildWorker(t, {
    store,
    queue: queue => ({
      ...queue,
      async extend(messages, seconds) {
        await queue.extend(messages, seconds)
        extended.push(messages.map(({ messageId }) => messageId).sort())
        t.equal(seconds, 2)
        if (extended.length === 3) held.resolve()
      },
    }),
    options: { visibilityTimeoutSeconds: 2 },
  })
  send(loginBodies(7))
  t.match(
    await runUntil(() => true),
    { received: 7, stored: 7, duplicates: 0, released: 0 },
    'nothing was delivered twice',
  )
  t.equal(count(), 0)
  t.equal(extended.length, 3, 'no beat after the commit')
  for (const ids of extended) t.equal(ids.length, 7)
})
