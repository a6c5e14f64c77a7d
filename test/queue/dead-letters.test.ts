import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { startFauxqs } from 'fauxqs'
import t, { type Test } from 'tap'
import { createFirstIdentitySeal } from '../../src/ingest/first-identity.ts'
import type { DeadLetterQueue } from '../../src/ingest/ports.ts'
import { redriveDeadLetters } from '../../src/ingest/redrive/dead-letters.ts'
import { createWorker } from '../../src/ingest/worker/worker.ts'
import { openDeadLetterQueue } from '../../src/queue/dead-letters.ts'
import { createSqsQueue } from '../../src/queue/sqs-queue.ts'
import { FieldKeys } from '../../src/vault/keys/field-keys.ts'
import { generateKey, Keyset } from '../../src/vault/keys/keyset.ts'
import { freshVault, loginBodies } from '../helpers/queue/events.ts'
import { createMemoryStore } from '../helpers/queue/memory-store.ts'
import { type Intercept, startQueueProxy } from '../helpers/queue/proxy.ts'
import { createTestLog } from '../helpers/queue/server.ts'
import { running } from '../helpers/queue/worker.ts'

// Most of each is the end of a long poll.
t.jobs = 6
const besideOthers = { buffered: true }
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
const keys = new FieldKeys(
  new Keyset([
    generateKey({ purpose: 'quarantine', field: '', version: 1 }, 'primary'),
    generateKey({ purpose: 'audit', field: '', version: 1 }, 'primary'),
  ]),
  'default',
)
const seal = createFirstIdentitySeal(keys)
const { tokenizeMessages } = freshVault()

/** A source whose messages become dead letters at the second receive, and a worker that stores in memory. */
async function build(t: Test, { intercept, fifo = '' }: { intercept?: Intercept; fifo?: '' | '.fifo' } = {}) {
  const server = await startFauxqs({ port: 0, logger: false })
  const direct = `http://127.0.0.1:${server.port}`
  const proxy = intercept && (await startQueueProxy(direct, intercept))
  const fifoAttributes: Record<string, string> = fifo === '' ? {} : { FifoQueue: 'true' }
  server.createQueue(`dead${fifo}`, { attributes: fifoAttributes })
  const { queueUrl } = server.createQueue(`logins${fifo}`, {
    attributes: {
      ...fifoAttributes,
      RedrivePolicy: JSON.stringify({
        deadLetterTargetArn: `arn:aws:sqs:us-east-1:000000000000:dead${fifo}`,
        maxReceiveCount: 1,
      }),
    },
  })
  const options = { queueUrl, region: 'us-east-1', endpoint: proxy?.endpoint ?? direct, credentials }
  const { log, logged } = createTestLog()
  const source = createSqsQueue({
    ...options,
    endpoint: direct,
    log,
    openFirstIdentity: (mark, body) => seal.open(mark, body, Date.now()),
  })
  const queue = await openDeadLetterQueue({ ...options, callTimeoutMilliseconds: 500, log })
  t.teardown(async () => {
    source.close()
    queue.close()
    await proxy?.close()
    await server.stop()
  })
  const store = createMemoryStore()
  /** Every message is received once without success, and so becomes a dead letter. */
  const fail = async () => {
    for (;;) {
      const messages = await source.receive({ waitSeconds: 0, visibilityTimeoutSeconds: 30 })
      await source.release(messages, 0)
      if (messages.length === 0) return
    }
  }
  const work = () =>
    createWorker({
      queue: source,
      tokenizeMessages,
      store,
      log,
      receivers: 1,
      batchMessages: 100,
      batchMilliseconds: 5,
      visibilityTimeoutSeconds: 30,
    }).run({ drain: true, signal: running() })
  const redrive = (change: Partial<Parameters<typeof redriveDeadLetters>[0]> = {}) =>
    redriveDeadLetters({
      queue,
      seal,
      max: Number.POSITIVE_INFINITY,
      perSecond: 1_000_000,
      signal: running(),
      ...change,
    })
  return { server, source, queue, store, fail, work, redrive, logged }
}

function deliveredIds({ deliveries }: { deliveries: ReadonlyMap<string, number> }): string[] {
  return [...deliveries.keys()].map(key => key.split('/')[1]!)
}

t.test('status tells the policy and the depth of both queues', besideOthers, async t => {
  const { source, queue, fail } = await build(t)
  await source.send(loginBodies(3))
  await fail()
  await source.send(loginBodies(1))
  const depth = { inFlight: 0, delayed: 0 }
  t.strictSame(await queue.status(), {
    queue: 'logins',
    deadLetterQueue: 'dead',
    maxReceiveCount: 1,
    depth: { visible: 1, ...depth },
    deadLetterDepth: { visible: 3, ...depth },
  })
})

t.test('a queue without a redrive policy has no dead-letter queue', besideOthers, async t => {
  const server = await startFauxqs({ port: 0, logger: false })
  t.teardown(() => server.stop())
  const { queueUrl } = server.createQueue('alone')
  const options = {
    queueUrl,
    region: 'us-east-1',
    endpoint: `http://127.0.0.1:${server.port}`,
    credentials,
    ...createTestLog(),
  }
  await t.rejects(openDeadLetterQueue(options), { code: 'dead_letter_queue_missing' })
  await t.rejects(openDeadLetterQueue({ ...options, queueUrl: `${queueUrl}-gone` }), { code: 'queue_unavailable' })
})

t.test(
  'a dead letter that the server gives without a time is left, and its neighbours go back',
  besideOthers,
  async t => {
    let spoilt = 0
    const { source, fail, redrive, logged } = await build(t, {
      intercept: async ({ action, forward }) => {
        const output = await forward()
        const [first] = action === 'ReceiveMessage' ? (output.Messages ?? []) : []
        if (first !== undefined && spoilt++ === 0) delete first.Attributes.SentTimestamp
        return { output }
      },
    })
    await source.send(loginBodies(3))
    await fail()
    t.strictSame(await redrive(), { moved: 2, back: 0, notSent: 1, undeleted: 0 })
    const told = logged.map(line => JSON.parse(line)).filter(({ event }) => event === 'dead_letters_unreadable')
    t.match(told, [{ count: 1 }])
  },
)

for (const fifo of ['', '.fifo'] as const) {
  t.test(
    `dead letters go back to the source and are stored once, under their first id${fifo}`,
    besideOthers,
    async t => {
      const { source, queue, store, fail, work, redrive } = await build(t, { fifo })
      await source.send(loginBodies(25))
      await fail()
      const progress: number[] = []
      t.strictSame(await redrive({ onProgress: ({ moved }) => progress.push(moved) }), {
        moved: 25,
        back: 0,
        notSent: 0,
        undeleted: 0,
      })
      t.strictSame(
        progress.toSorted((a, b) => a - b),
        progress,
      )
      t.match(await queue.status(), { depth: { visible: 25 }, deadLetterDepth: { visible: 0, inFlight: 0 } })
      t.match(await work(), { stored: 25, duplicates: 0 })
      t.equal(store.rows.length, 25)
    },
  )
}

t.test('what took effect before it became a dead letter takes none again', besideOthers, async t => {
  const { source, store, fail, work, redrive } = await build(t)
  await source.send(loginBodies(3))
  const messages = await source.receive({ waitSeconds: 0, visibilityTimeoutSeconds: 30 })
  // Stored, and killed before the delete.
  await store.storeMessages(tokenizeMessages(messages))
  await source.release(messages, 0)
  await fail()
  t.match(await redrive(), { moved: 3 })
  t.match(await work(), { received: 3, stored: 0, duplicates: 3 })
  t.equal(store.rows.length, 3)
})

t.test('a redrive that dies between send and delete sends twice, and the worker stores once', besideOthers, async t => {
  let deletesFail = true
  const { source, store, fail, work, redrive, logged } = await build(t, {
    intercept: async ({ action, input, forward }) => {
      if (action === 'DeleteMessageBatch' && deletesFail) return { status: 403, body: '{"__type":"x#AccessDenied"}' }
      // As if the visibility timeout were over whenever somebody looks.
      return { output: await forward(action === 'ReceiveMessage' ? { ...input, VisibilityTimeout: 0 } : input) }
    },
  })
  await source.send(loginBodies(5))
  await fail()
  t.match(await redrive(), { moved: 5, undeleted: 5 })
  t.match(logged.join(''), /"event":"dead_letters_not_deleted","count":5,"code":"AccessDenied"/)
  deletesFail = false
  t.match(await redrive(), { moved: 5, undeleted: 0 })
  t.match(await work(), { received: 10, stored: 5, duplicates: 5 })
  t.equal(store.rows.length, 5)
})

t.test('a dead letter that was redriven before goes on under its first id', besideOthers, async t => {
  const { source, store, fail, work, redrive } = await build(t)
  await source.send(loginBodies(1))
  const [first] = await source.receive({ waitSeconds: 0, visibilityTimeoutSeconds: 30 })
  await source.release([first!], 0)
  for (let round = 0; round < 2; round++) {
    await fail()
    t.match(await redrive(), { moved: 1 })
  }
  await work()
  t.strictSame(deliveredIds(store), [first!.messageId])
})

t.test('a mark that a producer forges, or takes from another message, suppresses nothing', besideOthers, async t => {
  const { server, store, work } = await build(t)
  const client = new SQSClient({ region: 'us-east-1', endpoint: `http://127.0.0.1:${server.port}`, credentials })
  t.teardown(() => client.destroy())
  const [victim, attack] = loginBodies(2)
  const send = async (body: string, mark?: string) => {
    const MessageAttributes = { 'tokenvault-origin': { DataType: 'String', StringValue: mark ?? 'none' } }
    const QueueUrl = `http://127.0.0.1:${server.port}/000000000000/logins`
    return (await client.send(new SendMessageCommand({ QueueUrl, MessageBody: body, MessageAttributes }))).MessageId!
  }
  const messageId = await send(victim!)
  const genuine = seal.seal({ messageId, sentAtMs: Date.now() }, victim!)
  const forged = `v1_${Buffer.from(`${Date.now()} ${messageId}`).toString('base64url')}`
  const ids = [messageId]
  for (const mark of [genuine, messageId, forged]) ids.push(await send(attack!, mark))
  t.match(await work(), { received: 4, stored: 4, duplicates: 0 })
  t.strictSame(deliveredIds(store).toSorted(), ids.toSorted())
})

t.test('a redrive ends at its limit, or when asked to once what is in flight is settled', besideOthers, async t => {
  const { source, queue, fail, redrive } = await build(t)
  await source.send(loginBodies(65))
  await fail()
  t.match(await redrive({ max: 7 }), { moved: 7 })
  t.match(await queue.status(), { deadLetterDepth: { visible: 58 } })
  const stop = new AbortController()
  t.match(await redrive({ signal: stop.signal, onProgress: () => stop.abort() }), { moved: 40 })
  t.match(await queue.status(), { deadLetterDepth: { visible: 18, inFlight: 0 } })
  t.match(await redrive({ signal: AbortSignal.abort() }), { moved: 0 })
})

t.test('what becomes a dead letter again at once is not moved for ever', besideOthers, async t => {
  const { source, queue, fail, redrive } = await build(t)
  await source.send(loginBodies(25))
  await fail()
  const failing: DeadLetterQueue = {
    ...queue,
    move: async (...call) => {
      const step = await queue.move(...call)
      await fail()
      return step
    },
  }
  const { moved, back } = await redrive({ queue: failing })
  t.equal(moved, 25, 'each once')
  t.ok(back > 0)
})

t.test('a message that the source does not take stays a dead letter', besideOthers, async t => {
  const { source, queue, fail, redrive, logged } = await build(t, {
    intercept: async ({ action, input, forward }) => {
      if (action !== 'SendMessageBatch') return { output: await forward() }
      const refused = input.Entries.map(({ Id }: { Id: string }) => ({
        Id,
        Code: 'InvalidMessageContents',
        SenderFault: true,
      }))
      return { output: { Successful: [], Failed: refused } }
    },
  })
  await source.send(loginBodies(3))
  await fail()
  t.match(await redrive(), { moved: 0, notSent: 3, undeleted: 0 })
  t.match(logged.join(''), /"event":"dead_letters_not_sent","count":3,"code":"InvalidMessageContents"/)
  t.match(await queue.status(), { deadLetterDepth: { visible: 3, inFlight: 0 } })
})
