import { inspect } from 'node:util'
import t from 'tap'
import { createSqsQueue } from '../../src/queue/sqs-queue.ts'
import type { QueueCall } from '../helpers/queue/proxy.ts'
import { createTestLog, startQueue } from '../helpers/queue/server.ts'

const now = { waitSeconds: 0, visibilityTimeoutSeconds: 30 }

async function receiveAll(queue: ReturnType<typeof createSqsQueue>) {
  const all = []
  for (let some = await queue.receive(now); some.length > 0; some = await queue.receive(now)) all.push(...some)
  return all
}

t.test('what is sent is received with its times, and is gone once deleted', async t => {
  const { queue, server } = await startQueue(t)
  t.same(await queue.receive(now), [], 'an empty queue gives no messages')
  const bodies = Array.from({ length: 25 }, (_, n) => `body ${n} ü 😀`.slice(0, n % 2 ? 9 : 8))
  await queue.send(bodies)
  t.same(await queue.depth(), { visible: 25, inFlight: 0, delayed: 0 })
  const messages = await receiveAll(queue)
  t.same(messages.map(({ body }) => body).sort(), bodies.sort())
  const sent = new Map(
    server.inspectQueue('logins')!.messages.inflight.map(({ message }) => [message.messageId, message.sentTimestamp]),
  )
  for (const { messageId, sentAtMs, receiveCount, receivedAtMs } of messages) {
    t.equal(sentAtMs, sent.get(messageId))
    t.equal(receiveCount, 1)
    t.ok(receivedAtMs > 0)
  }
  t.same(await queue.depth(), { visible: 0, inFlight: 25, delayed: 0 })
  t.same(await queue.delete(messages), [])
  t.same(await queue.depth(), { visible: 0, inFlight: 0, delayed: 0 })
  t.same(await queue.delete([]), [], 'an empty batch is no call')
  await queue.release([], 0)
  await queue.send([])
})

t.test('an abort ends the long poll and is no error', async t => {
  const polling = Promise.withResolvers<void>()
  const { queue } = await startQueue(t, {
    intercept: async ({ forward }) => {
      polling.resolve()
      return { output: await forward() }
    },
  })
  const abort = new AbortController()
  const poll = queue.receive({ waitSeconds: 20, visibilityTimeoutSeconds: 30, signal: abort.signal })
  await polling.promise
  abort.abort()
  t.same(await poll, [])
  t.same(await queue.receive({ ...now, signal: abort.signal }), [], 'so does one that came before')
})

t.test('a released message is delivered again, counted, with a new receipt handle', async t => {
  const { queue } = await startQueue(t)
  await queue.send(['again'])
  const [first] = await queue.receive(now)
  await queue.release([first!], 0)
  const [second] = await queue.receive(now)
  t.equal(second!.messageId, first!.messageId)
  t.equal(second!.sentAtMs, first!.sentAtMs)
  t.equal(second!.receiveCount, 2)
  t.not(second!.receiptHandle, first!.receiptHandle)
  await queue.release([first!], 10)
  t.pass('a handle that is no longer in flight is passed over')
})

t.test('a DeleteMessageBatch that answers Failed[] is repeated for those ids alone', async t => {
  const calls: string[][] = []
  const failing = new Map<string, number>()
  const { queue, count } = await startQueue(t, {
    intercept: async ({ action, input, forward }) => {
      if (action !== 'DeleteMessageBatch') return { output: await forward() }
      calls.push(input.Entries.map(({ ReceiptHandle }: { ReceiptHandle: string }) => ReceiptHandle))
      const isFailing = ({ ReceiptHandle }: { ReceiptHandle: string }) => {
        const left = failing.get(ReceiptHandle) ?? 0
        failing.set(ReceiptHandle, left - 1)
        return left > 0
      }
      const failed = input.Entries.filter(isFailing)
      const rest = input.Entries.filter((entry: unknown) => !failed.includes(entry))
      const output = rest.length > 0 ? await forward({ ...input, Entries: rest }) : { Successful: [] }
      const Failed = failed.map(({ Id }: { Id: string }) => ({ Id, Code: 'InternalError', SenderFault: false }))
      return { output: { ...output, Failed } }
    },
  })
  await queue.send(Array.from({ length: 23 }, (_, n) => `body ${n}`))
  const messages = await receiveAll(queue)
  failing.set(messages[3]!.receiptHandle, 2)
  failing.set(messages[14]!.receiptHandle, 1)
  failing.set(messages[15]!.receiptHandle, Number.POSITIVE_INFINITY)
  t.same(await queue.delete(messages), [messages[15]], 'what is never deleted is told')
  t.equal(count(), 1)
  for (const entries of calls) t.ok(entries.length <= 10 && new Set(entries).size === entries.length)
  const times = (place: number) => calls.flat().filter(handle => handle === messages[place]!.receiptHandle).length
  t.equal(times(0), 1)
  t.equal(times(3), 3)
  t.equal(times(14), 2)
  t.equal(times(15), 4, 'attempts are bounded')
})

t.test('an entry that a reply does not mention counts as not deleted', async t => {
  const { queue } = await startQueue(t, {
    intercept: async ({ action, forward }) =>
      action === 'DeleteMessageBatch' ? { output: {} } : { output: await forward() },
  })
  await queue.send(['kept'])
  const messages = await queue.receive(now)
  t.same(await queue.delete(messages), messages)
})

t.test('a hung socket ends in an error, and the queue works again without a restart', async t => {
  let hanging = true
  const { queue, count } = await startQueue(t, {
    callTimeoutMilliseconds: 200,
    intercept: async ({ forward }) => (hanging ? 'hang' : { output: await forward() }),
  })
  await t.rejects(queue.receive(now), { code: 'queue_unavailable', message: 'ReceiveMessage: TimeoutError' })
  await t.rejects(queue.depth(), { code: 'queue_unavailable', message: 'GetQueueAttributes: TimeoutError' })
  hanging = false
  await queue.send(['late'])
  const messages = await queue.receive(now)
  hanging = true
  t.same(await queue.delete(messages), messages, 'nothing is believed deleted')
  hanging = false
  t.same(await queue.delete(messages), [])
  t.equal(count(), 0)
})

t.test('a server that answers 500 or throttles is asked again', async t => {
  let failures = 0
  const { queue } = await startQueue(t, {
    intercept: async ({ forward }) => {
      if (failures++ < 1) return { status: 500, body: '{"__type":"InternalFailure"}' }
      if (failures++ < 3) return { status: 400, body: '{"__type":"com.amazonaws.sqs#RequestThrottled"}' }
      return { output: await forward() }
    },
  })
  t.same(await queue.depth(), { visible: 0, inFlight: 0, delayed: 0 })
})

t.test('no error carries text of a reply', async t => {
  const { queue, logged } = await startQueue(t, {
    intercept: ({ action }) =>
      action === 'ReceiveMessage'
        ? { status: 200, body: '{"Messages": [{"Body": "canary-1' }
        : { status: 400, body: '{"__type": "canary 2 <b>", "message": "canary-3"}' },
  })
  for (const call of [queue.receive(now), queue.depth(), queue.send(['canary-4'])]) {
    const error: unknown = await call.catch((error: unknown) => error)
    t.match(error, { code: 'queue_unavailable' })
    t.notMatch(inspect(error, { depth: 9 }), /canary/)
  }
  t.notMatch(logged.join(), /canary/)
})

t.test('a server that is not there is named by its error code', async t => {
  const { queue, server } = await startQueue(t)
  await server.stop()
  await t.rejects(queue.receive(now), { code: 'queue_unavailable', message: 'ReceiveMessage: ECONNREFUSED' })
})

t.test('a queue that is not there is refused by name', async t => {
  const { server } = await startQueue(t)
  const { log } = createTestLog()
  const queue = createSqsQueue({
    queueUrl: `http://127.0.0.1:${server.port}/000000000000/nowhere`,
    endpoint: `http://127.0.0.1:${server.port}`,
    region: 'us-east-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    log,
  })
  t.teardown(() => queue.close())
  await t.rejects(queue.depth(), { code: 'queue_unavailable', message: /^GetQueueAttributes: .*QueueDoesNotExist$/ })
})

t.test('one bad MD5 does not throw nine good messages away', async t => {
  const { queue } = await startQueue(t, {
    intercept: async ({ action, forward }) => {
      const output = await forward()
      if (action === 'ReceiveMessage') output.Messages[0].MD5OfBody = '0'.repeat(32)
      return { output }
    },
  })
  await queue.send(Array.from({ length: 10 }, () => 'body'))
  t.equal((await queue.receive(now)).length, 10)
})

t.test('a message without SentTimestamp is refused: its delivery record would have no certain day', async t => {
  const { queue } = await startQueue(t, {
    intercept: async ({ action, input, forward }: QueueCall) => {
      t.notOk('AttributeNames' in input && action === 'ReceiveMessage', 'only one list of attributes is sent')
      return { output: await forward({ ...input, MessageSystemAttributeNames: ['ApproximateReceiveCount'] }) }
    },
  })
  await queue.send(['body'])
  await t.rejects(queue.receive(now), { code: 'queue_unavailable', message: /without a SentTimestamp/ })
})

t.test('what is sent is split by bytes as well as by number', async t => {
  const sizes: number[] = []
  const { queue, count } = await startQueue(t, {
    intercept: async ({ input, forward }) => {
      sizes.push(input.Entries.length)
      return { output: await forward() }
    },
  })
  await queue.send(Array.from({ length: 5 }, () => 'ü'.repeat(60 * 1024)))
  t.same(sizes.sort(), [1, 2, 2], '120 KiB each: two a batch')
  await queue.send(['x'.repeat(300 * 1024)])
  t.equal(count(), 6, 'one that is larger than a batch goes alone')
})

t.test('what cannot be sent is an error that says how many', async t => {
  const { queue, count } = await startQueue(t)
  await t.rejects(queue.send(['fine', 'not \u0001 fine']), {
    code: 'queue_unavailable',
    message: 'SendMessageBatch: InvalidMessageContents, 1 messages not sent',
  })
  t.equal(count(), 1)
})
