import t from 'tap'
import { readSqsEvent, type SqsEvent, toBatchResponse } from '../../src/queue/lambda-event.ts'

const record = {
  messageId: 'message-1',
  receiptHandle: 'handle-1',
  body: '{}',
  attributes: { SentTimestamp: '1767225600000', ApproximateReceiveCount: '3', MessageGroupId: 'group' },
  eventSourceARN: 'arn:aws:sqs:us-east-2:123456789012:logins',
}
const read = (event: unknown) => readSqsEvent(event as SqsEvent, () => undefined)

t.test('a record is read as a message that was received', async t => {
  const [message] = read({ Records: [record] })
  const { receivedAtMs, ...rest } = message!
  t.ok(receivedAtMs > 0)
  t.strictSame(rest, {
    messageId: 'message-1',
    receiptHandle: 'handle-1',
    body: '{}',
    sentAtMs: 1_767_225_600_000,
    receiveCount: 3,
    groupId: undefined,
  })
  t.same(read({ Records: [] }), [])
})

t.test('a group counts on a FIFO queue only', async t => {
  const [message] = read({ Records: [{ ...record, eventSourceARN: `${record.eventSourceARN}.fifo` }] })
  t.equal(message!.groupId, 'group')
})

t.test('a mark is handed on with its body, and what it opens to is the first identity', async t => {
  const firstIdentity = { messageId: 'first', sentAtMs: 1 }
  const marked = { ...record, messageAttributes: { 'tokenvault-origin': { stringValue: 'mark' } } }
  const seen: string[][] = []
  const [message] = readSqsEvent({ Records: [marked] }, (...both) => {
    seen.push(both)
    return firstIdentity
  })
  t.strictSame(seen, [['mark', '{}']])
  t.strictSame(message!.firstIdentity, firstIdentity)
})

t.test('what is not an event of a queue is refused, and so is a time that ReceiveMessage would refuse', async t => {
  const sent = (SentTimestamp: unknown) => ({ ...record, attributes: { ...record.attributes, SentTimestamp } })
  const records = [
    null,
    'text',
    {},
    { ...record, messageId: '' },
    { ...record, messageId: 7 },
    { ...record, receiptHandle: undefined },
    { ...record, body: undefined },
    { ...record, body: {} },
    { ...record, attributes: undefined },
    { ...record, eventSourceARN: undefined },
    ...['', 'yesterday', '0', '-1', '1.5', '253402300800000', '1e300'].map(sent),
    sent(undefined),
  ]
  for (const one of records) t.throws(() => read({ Records: [record, one] }), { code: 'event_invalid' })
  for (const event of [null, undefined, [], 'Records', { Records: {} }, { Records: null }])
    t.throws(() => read(event), { code: 'event_invalid' })
  t.equal(read({ Records: [sent('253402300799999')] }).length, 1)
})

t.test('Lambda is told which messages come again', async t => {
  t.strictSame(toBatchResponse([]), { batchItemFailures: [] })
  t.strictSame(toBatchResponse(['a', 'b']), { batchItemFailures: [{ itemIdentifier: 'a' }, { itemIdentifier: 'b' }] })
})
