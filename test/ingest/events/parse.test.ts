import fc from 'fast-check'
import t from 'tap'
import { parseBody } from '../../../src/ingest/events/parse.ts'
import { loginEvent, poison } from '../../helpers/queue/events.ts'

const fields = ['ip', 'device_id']
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
t.comment(`SEED=${seed}`)

const knownReason =
  /^(json_invalid|array_empty|event_not_object|(user_id|device_type|locale|app_version|ip|device_id)_(missing|invalid|too_long))$/

const eventLike = fc.record(
  {
    user_id: fc.oneof(fc.string({ unit: 'binary' }), fc.constant('u')),
    device_type: fc.oneof(fc.string(), fc.constant('ios')),
    locale: fc.oneof(fc.constant(null), fc.string(), fc.jsonValue()),
    app_version: fc.oneof(fc.constant('2.3.0'), fc.string()),
    ip: fc.oneof(fc.ipV4(), fc.ipV6(), fc.jsonValue()),
    device_id: fc.oneof(fc.string(), fc.jsonValue()),
  },
  { requiredKeys: [] },
)
const element = fc.oneof(eventLike, fc.jsonValue(), fc.constant(loginEvent(1)))

t.test('any text whatever is parsed without an exception and with reasons of ours', async t => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.json(),
        element.map(value => JSON.stringify(value)),
      ),
      body => {
        const { events, rejects } = parseBody(body, fields)
        return events.length + rejects.length > 0 && rejects.every(({ reason }) => knownReason.test(reason))
      },
    ),
    { seed, numRuns: 1000 },
  )
  t.pass()
})

t.test('every element of an array is either an event or a reject, in its place', async t => {
  fc.assert(
    fc.property(fc.array(element, { minLength: 1 }), fc.constantFrom(undefined, 1, '\t'), (elements, indent) => {
      const { events, rejects, textOf } = parseBody(JSON.stringify(elements, null, indent), fields)
      const places = [...events, ...rejects].map(({ eventIndex }) => eventIndex).sort((a, b) => a - b)
      t.same(
        places,
        elements.map((_, index) => index),
      )
      for (const { eventIndex, event } of events) {
        t.same(parseBody(JSON.stringify(elements[eventIndex]), fields).events, [{ eventIndex: 0, event }])
      }
      // What is sealed is the text of that element and of no other.
      for (const { eventIndex } of rejects) {
        t.same(JSON.parse(textOf(eventIndex)), JSON.parse(JSON.stringify(elements[eventIndex])))
      }
    }),
    { seed, numRuns: 300 },
  )
})

t.test('one event that is wrong does not block its neighbours', async t => {
  const body = JSON.stringify([loginEvent(1), { foo: 'oops' }, loginEvent(2), 7, [loginEvent(3)]])
  const { events, rejects, textOf } = parseBody(body, fields)
  t.same(
    events.map(({ eventIndex, event }) => [eventIndex, event.userId]),
    [
      [0, 'user-1'],
      [2, 'user-2'],
    ],
  )
  t.same(rejects, [
    { eventIndex: 1, reason: 'user_id_missing' },
    { eventIndex: 3, reason: 'event_not_object' },
    { eventIndex: 4, reason: 'event_not_object' },
  ])
  t.equal(textOf(1), '{"foo":"oops"}')
  t.equal(textOf(3), '7')
})

t.test('a rejected element is kept as it was sent, digit for digit', async t => {
  const odd = '{ "a": 12345678901234567890, "a": "\\u00e9,]}\\"" }'
  const { rejects, textOf } = parseBody(` [ ${odd} ,1e400]\n`, fields)
  t.equal(rejects.length, 2)
  t.equal(textOf(0), odd)
  t.equal(textOf(1), '1e400')
})

t.test('each kind of poison has its reason, and deep nesting is no exception', async t => {
  for (const { body, reason } of poison) {
    const { events, rejects, textOf } = parseBody(body, fields)
    if (reason.startsWith('ip_') || reason.startsWith('device_id_')) {
      t.equal(events.length, 1, 'values are the tokenizer’s to refuse')
      continue
    }
    t.same(rejects, [{ eventIndex: 0, reason }])
    t.equal(textOf(0).includes('canary') || body === '[]', true)
  }
})
