import t from 'tap'
import { MessagesInFlight } from '../../../src/ingest/batch/in-flight.ts'
import { received } from '../../helpers/queue/events.ts'

const at = (receivedAtMs: number, handle = 'first') =>
  received('m', '', { receivedAtMs, receiptHandle: handle, receiveCount: handle === 'first' ? 1 : 2 })

t.test('a message that was delivered again is settled with its newest receipt handle', async t => {
  const inFlight = new MessagesInFlight(10)
  const [first, second] = [at(0), at(11_000, 'second')]
  inFlight.add([first])
  inFlight.add([second])
  t.same(inFlight.claimForDelete(['m']), [second])
  inFlight.remove([first])
  t.same(inFlight.dueForExtension(20_000), [], 'the heartbeat keeps off')
  t.same(inFlight.claimForRelease(['m'], [second], 12_000), [], 'and it is not given back')
  inFlight.remove([second])
  t.equal(inFlight.size, 0)
})

t.test('a release never cuts short whoever holds the message now', async t => {
  const inFlight = new MessagesInFlight(10)
  const [first, second] = [at(0), at(1, 'second')]
  inFlight.add([first])
  t.same(inFlight.claimForRelease(['m'], [first], 10_000), [], 'its time is over')
  inFlight.add([second])
  t.same(inFlight.claimForRelease(['m'], [first], 5), [], 'another batch holds it')
  t.same(inFlight.claimForRelease(['m'], [first, second], 5), [second])
  t.same(inFlight.claimForRelease(['unknown'], [], 5), [])
  inFlight.remove([first, second])
  t.equal(inFlight.size, 0)
})

t.test('only what is still held, and hidden, is extended', async t => {
  const inFlight = new MessagesInFlight(10)
  const message = at(0)
  inFlight.add([message])
  t.same(inFlight.dueForExtension(4_999), [])
  t.same(inFlight.dueForExtension(5_000), [message])
  t.same(inFlight.dueForExtension(10_000), [], 'too late')
  inFlight.extended([message], 5_000)
  t.same(inFlight.dueForExtension(9_999), [])
  t.ok(inFlight.anyHidden([message], 14_999))
  t.notOk(inFlight.anyHidden([message], 15_000))
  t.same(inFlight.dueForExtension(10_000), [message])
  inFlight.claimForRelease(['m'], [message], 10_000)
  t.same(inFlight.dueForExtension(10_000), [], 'a heartbeat never overwrites a backoff')
  inFlight.remove([message])
  t.same(inFlight.dueForExtension(10_000), [])
})
