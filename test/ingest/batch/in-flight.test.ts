import t from 'tap'
import { MessagesInHand } from '../../../src/ingest/batch/in-flight.ts'
import { received } from '../../helpers/queue/events.ts'

const at = (receivedAtMs: number, handle = 'first') =>
  received('m', '', { receivedAtMs, receiptHandle: handle, receiveCount: handle === 'first' ? 1 : 2 })

t.test('a message that was delivered again is settled with its newest receipt handle', async t => {
  const inHand = new MessagesInHand(10)
  const [first, second] = [at(0), at(11_000, 'second')]
  inHand.add([first])
  inHand.add([second])
  t.same(inHand.claimForDelete(['m']), [second])
  inHand.remove([first])
  t.same(inHand.dueForExtension(20_000), [], 'the heartbeat keeps off')
  t.same(inHand.claimForRelease(['m'], [second], 12_000), [], 'and it is not given back')
  inHand.remove([second])
  t.equal(inHand.size, 0)
})

t.test('a release never cuts short whoever holds the message now', async t => {
  const inHand = new MessagesInHand(10)
  const [first, second] = [at(0), at(1, 'second')]
  inHand.add([first])
  t.same(inHand.claimForRelease(['m'], [first], 10_000), [], 'its time is over')
  inHand.add([second])
  t.same(inHand.claimForRelease(['m'], [first], 5), [], 'another batch holds it')
  t.same(inHand.claimForRelease(['m'], [first, second], 5), [second])
  t.same(inHand.claimForRelease(['unknown'], [], 5), [])
  inHand.remove([first, second])
  t.equal(inHand.size, 0)
})

t.test('only what is still held, and hidden, is extended', async t => {
  const inHand = new MessagesInHand(10)
  const message = at(0)
  inHand.add([message])
  t.same(inHand.dueForExtension(4_999), [])
  t.same(inHand.dueForExtension(5_000), [message])
  t.same(inHand.dueForExtension(10_000), [], 'too late')
  inHand.extended([message], 5_000)
  t.same(inHand.dueForExtension(9_999), [])
  t.ok(inHand.anyHidden([message], 14_999))
  t.notOk(inHand.anyHidden([message], 15_000))
  t.same(inHand.dueForExtension(10_000), [message])
  inHand.claimForRelease(['m'], [message], 10_000)
  t.same(inHand.dueForExtension(10_000), [], 'a heartbeat never overwrites a backoff')
  inHand.remove([message])
  t.same(inHand.dueForExtension(10_000), [])
})
