import t from 'tap'
import type { SqsQueue } from '../../src/queue/sqs-queue.ts'
import type { QueueCall } from '../helpers/queue/proxy.ts'
import { startQueue } from '../helpers/queue/server.ts'

const now = { waitSeconds: 0, visibilityTimeoutSeconds: 30 }
/** Takes everything, one of a group after the other. */
async function receiveAll(queue: SqsQueue) {
  const all = []
  for (let some = await queue.receive(now); some.length > 0; some = await queue.receive(now)) {
    all.push(...some)
    await queue.delete(some)
  }
  return all
}

const attributes = { FifoQueue: 'true' }

t.test('bodies that are sent are received in order, all in one group, equal ones too', async t => {
  const { queue } = await startQueue(t, { attributes })
  await queue.send(['one', 'two', 'two', 'three'])
  const messages = await receiveAll(queue)
  t.same(
    messages.map(({ body }) => body),
    ['one', 'two', 'two', 'three'],
  )
  t.equal(new Set(messages.map(({ groupId }) => groupId)).size, 1)
  t.ok(messages[0]!.groupId)
})

t.test('a message keeps the group and the deduplication id that it is given', async t => {
  const { queue, count } = await startQueue(t, { attributes })
  await queue.send([
    { body: 'a', groupId: 'g-1', deduplicationId: 'd-1' },
    { body: 'b', groupId: 'g-2', deduplicationId: 'd-2' },
  ])
  await queue.send([{ body: 'a again', groupId: 'g-1', deduplicationId: 'd-1' }])
  t.equal(count(), 2, 'sent twice, taken once')
  const messages = await queue.receive(now)
  t.same(messages.map(({ body, groupId }) => `${body} ${groupId}`).sort(), ['a g-1', 'b g-2'])
})

t.test('a send that fails in its middle is not overtaken by what follows in the group', async t => {
  let failures = 2
  const { queue } = await startQueue(t, {
    attributes,
    intercept: async ({ action, input, forward }: QueueCall) => {
      const isRefused = ({ MessageBody }: { MessageBody: string }) => MessageBody === 'a2' && failures-- > 0
      if (action !== 'SendMessageBatch') return { output: await forward() }
      const refused = input.Entries.filter(isRefused)
      const rest = input.Entries.filter((entry: unknown) => !refused.includes(entry))
      const output = rest.length > 0 ? await forward({ ...input, Entries: rest }) : {}
      const Failed = refused.map(({ Id }: { Id: string }) => ({ Id, Code: 'InternalError', SenderFault: false }))
      return { output: { ...output, Failed } }
    },
  })
  const bodies = ['a1', 'b1', 'a2', 'b2', 'a3', 'b3']
  await queue.send(bodies.map(body => ({ body, groupId: body[0] })))
  const received = await receiveAll(queue)
  for (const group of ['a', 'b']) {
    const order = received.filter(({ groupId }) => groupId === group).map(({ body }) => body)
    t.same(
      order,
      [1, 2, 3].map(n => `${group}${n}`),
    )
  }
})

t.test('after a message that cannot be sent nothing more is', async t => {
  const { queue, count } = await startQueue(t, { attributes })
  await t.rejects(queue.send(['one', 'not \u0001 fine', 'three', 'four']), {
    code: 'queue_unavailable',
    message: 'SendMessageBatch: InvalidMessageContents, 3 messages not sent',
  })
  t.equal(count(), 1)
})

t.test('a standard queue gets no group, and its messages have none', async t => {
  const inputs: unknown[] = []
  const { queue } = await startQueue(t, {
    intercept: async ({ input, forward }) => {
      inputs.push(input)
      return { output: await forward() }
    },
  })
  await queue.send([{ body: 'body', groupId: 'g', deduplicationId: 'd' }])
  const [message] = await queue.receive(now)
  t.equal(message!.groupId, undefined)
  t.notMatch(JSON.stringify(inputs), /MessageGroupId|Deduplication/)
})
