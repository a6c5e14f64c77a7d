import { inspect } from 'node:util'
import type { Test } from 'tap'
import t from 'tap'
import { composeQueue } from '../../src/compose/queue.ts'
import { loadConfig } from '../../src/config/load.ts'
import { openDeadLetterQueue } from '../../src/queue/dead-letters.ts'
import type { SqsProtocol } from '../../src/queue/sqs-client.ts'
import { createSqsQueue } from '../../src/queue/sqs-queue.ts'
import { loginBodies, loginEvent, poison } from '../helpers/queue/events.ts'
import { startQueryOnlySqs } from '../helpers/queue/query-only-sqs.ts'
import { startQueue } from '../helpers/queue/server.ts'
import { buildWorker } from '../helpers/queue/worker.ts'

const now = { waitSeconds: 0, visibilityTimeoutSeconds: 30 }
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }

/** A server that speaks Query only, and our queue over it. */
async function startOldServer(t: Test, protocol: SqsProtocol = 'query', attributes: Record<string, string> = {}) {
  const { server, queueUrl, count, log } = await startQueue(t, { attributes })
  const actions: string[] = []
  const { endpoint, close } = await startQueryOnlySqs(`http://127.0.0.1:${server.port}`, actions)
  t.teardown(close)
  const options = { queueUrl, region: 'us-east-1', endpoint, credentials, protocol }
  const queue = createSqsQueue({ ...options, log })
  t.teardown(() => queue.close())
  return { queue, server, count, endpoint, queueUrl, options, actions, log }
}

t.test('send, receive, times, visibility, counts and delete', async t => {
  const { queue, server, count, actions } = await startOldServer(t)
  t.same(await queue.receive(now), [], 'an empty queue gives no messages')
  const bodies = ['one', 'ü € <&>"\' ]]>', ' white\tspace\r\n ', '{"a": "\\u0041&amp;"}', ...loginBodies(21)]
  await queue.send(bodies)
  t.same(await queue.depth(), { visible: 25, inFlight: 0, delayed: 0 })
  const messages = []
  for (let some = await queue.receive(now); some.length > 0; some = await queue.receive(now)) messages.push(...some)
  t.same(messages.map(({ body }) => body).sort(), bodies.toSorted(), 'byte for byte')
  const sent = new Map(
    server.inspectQueue('logins')!.messages.inflight.map(({ message }) => [message.messageId, message.sentTimestamp]),
  )
  for (const { messageId, sentAtMs, receiveCount } of messages) {
    t.equal(sentAtMs, sent.get(messageId))
    t.equal(receiveCount, 1)
  }
  await queue.release([messages[0]!], 0)
  const [again] = await queue.receive(now)
  t.match(again, { messageId: messages[0]!.messageId, receiveCount: 2 })
  t.same(await queue.delete([again!, ...messages.slice(1)]), [])
  t.equal(count(), 0)
  t.same([...new Set(actions)].sort(), [
    'ChangeMessageVisibilityBatch',
    'DeleteMessageBatch',
    'GetQueueAttributes',
    'ReceiveMessage',
    'SendMessageBatch',
  ])
})

t.test('ten bodies of many events each: every quote is an entity', async t => {
  const { queue } = await startOldServer(t)
  const body = JSON.stringify(Array.from({ length: 150 }, (_, n) => loginEvent(n)))
  await queue.send(Array.from({ length: 10 }, () => body))
  const messages = await queue.receive(now)
  t.equal(messages.length, 10)
  for (const message of messages) t.ok(message.body === body)
})

t.test('one message alone is a list of one', async t => {
  const { queue, count } = await startOldServer(t)
  await queue.send(['alone'])
  const messages = await queue.receive(now)
  t.equal(messages.length, 1)
  t.same(await queue.delete(messages), [])
  t.equal(count(), 0)
})

t.test('a batch that fails in part', async t => {
  const { queue, count } = await startOldServer(t)
  await t.rejects(queue.send(['fine', 'not \u0001 fine']), {
    code: 'queue_unavailable',
    message: 'SendMessageBatch: InvalidMessageContents, 1 messages not sent',
  })
  t.equal(count(), 1)
  const [message] = await queue.receive(now)
  await queue.release([{ ...message!, receiptHandle: 'expired' }], 10)
  t.pass('a handle that is no longer in flight is passed over')
})

t.test('a FIFO queue', async t => {
  const { queue } = await startOldServer(t, 'query', { FifoQueue: 'true' })
  await queue.send([{ body: 'a', groupId: 'g' }])
  t.match(await queue.receive(now), [{ body: 'a', groupId: 'g' }])
})

t.test('a queue that is not there is refused by name, and no error carries text of a reply', async t => {
  const { options, log, server } = await startOldServer(t)
  const queueUrl = `http://127.0.0.1:${server.port}/000000000000/canary`
  const queue = createSqsQueue({ ...options, queueUrl, log })
  t.teardown(() => queue.close())
  for (const call of [queue.depth(), queue.receive(now)]) {
    const error: unknown = await call.catch((error: unknown) => error)
    t.match(error, {
      code: 'queue_unavailable',
      message: /^[A-Za-z]+: [A-Za-z.]*(QueueDoesNotExist|NonExistentQueue)$/,
    })
    t.notMatch(inspect(error, { depth: 9 }), /canary/)
  }
})

t.test('the server really knows no JSON', async t => {
  const { queue, actions } = await startOldServer(t, 'json')
  await t.rejects(queue.receive(now), { code: 'queue_unavailable' })
  await t.rejects(queue.depth(), { code: 'queue_unavailable' })
  t.same(actions, [])
})

t.test('SQS_PROTOCOL=query makes the whole worker speak it', async t => {
  const { queueUrl, endpoint, actions, count, log } = await startOldServer(t)
  const config = loadConfig('worker', {
    DATABASE_URL: 'postgres://unused',
    KEK_FILE: '/unused',
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: endpoint,
    SQS_PROTOCOL: 'query',
  })
  const queue = await composeQueue(config, log, {})
  t.teardown(() => queue.close())
  const { drain, store } = await buildWorker(t, { queue: () => queue })
  await queue.send([...loginBodies(60), ...poison.map(({ body }) => body)])
  t.match(await drain(), { received: 72, stored: 60, quarantined: 12, duplicates: 0, undeleted: 0 })
  t.equal(store.rows.length, 60)
  t.equal(count(), 0)
  t.ok(actions.includes('DeleteMessageBatch'))
})

t.test('the dead-letter queue is found and counted, and what is sent again carries its mark', async t => {
  const deadLetterTargetArn = 'arn:aws:sqs:us-east-1:000000000000:dead'
  const { options, server, log } = await startOldServer(t, 'query', {
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn, maxReceiveCount: 3 }),
  })
  server.createQueue('dead')
  server.sendMessage('dead', JSON.stringify(loginEvent(1)))
  const deadLetters = await openDeadLetterQueue({ ...options, log })
  t.teardown(() => deadLetters.close())
  const counted = { deadLetterQueue: 'dead', maxReceiveCount: 3, deadLetterDepth: { visible: 1 } }
  t.match(await deadLetters.status(), counted)

  const mark = 'v1_a-mark-of-the-test'
  t.match(await deadLetters.move(10, { seal: () => mark, open: () => undefined }, new Set()), { moved: 1 })
  const firstIdentity = { messageId: 'first', sentAtMs: 1 }
  const queue = createSqsQueue({
    ...options,
    log,
    openFirstIdentity: found => (found === mark ? firstIdentity : undefined),
  })
  t.teardown(() => queue.close())
  t.match(await queue.receive(now), [{ body: JSON.stringify(loginEvent(1)), firstIdentity }])
})
