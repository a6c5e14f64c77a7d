import fc from 'fast-check'
import t from 'tap'
import { createTokenizeMessages } from '../../../src/ingest/batch/tokenize-messages.ts'
import { parseBody, unwrap } from '../../../src/ingest/events/parse.ts'
import { checkProperty } from '../../helpers/crypto/property.ts'
import { freshVault, loginEvent, poison, received } from '../../helpers/queue/events.ts'

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

/** What SNS delivers to a queue without raw message delivery. */
function notification(message: string): string {
  return JSON.stringify({
    Type: 'Notification',
    MessageId: '22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324',
    TopicArn: 'arn:aws:sns:eu-central-1:123456789012:logins',
    Subject: 'Login',
    Message: message,
    Timestamp: '2026-02-28T23:59:59.999Z',
    SignatureVersion: '1',
    Signature: 'EXAMPLEw6JRN…',
    SigningCertURL: 'https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-01.pem',
    UnsubscribeURL: 'https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe',
  })
}

/** What an EventBridge rule delivers. */
function eventBridge(detail: string): string {
  return `{"version":"0","id":"6a7e8feb-b491-4cf7-a9f1-bf3703467718","detail-type":"Login", "source":"com.example.auth",
    "account":"123456789012","time":"2026-02-28T23:59:59Z","region":"eu-central-1","resources":[],"detail": ${detail} }`
}

const envelopes: Readonly<Record<string, (text: string) => string>> = {
  SNS: notification,
  'SNS, with nothing else in it': Message => JSON.stringify({ Type: 'Notification', Message }),
  EventBridge: eventBridge,
  'EventBridge to SNS': text => notification(eventBridge(text)),
  'SNS to EventBridge': text => eventBridge(notification(text)),
}

t.test('an event, or an array of them, in each envelope', async t => {
  const events = [loginEvent(1), loginEvent(2, { user_id: 'u-😀-\\"{[' })]
  for (const [title, wrap] of Object.entries(envelopes)) {
    t.same(
      parseBody(wrap(JSON.stringify(events[0])), fields).events,
      parseBody(JSON.stringify(events[0]), fields).events,
      title,
    )
    t.same(
      parseBody(wrap(JSON.stringify(events)), fields).events,
      parseBody(JSON.stringify(events), fields).events,
      title,
    )
  }
  const bare = JSON.stringify({ detail: loginEvent(1) })
  t.equal(parseBody(bare, fields).events.length, 1, 'detail alone')
})

t.test(
  'of an array, quarantine keeps the element that was rejected, digit for digit; otherwise the whole body',
  async t => {
    const odd = '{ "a": 12345678901234567890, "a": "\\u00e9,]}\\"" }'
    const array = `[${JSON.stringify(loginEvent(1))}, ${odd} ]`
    for (const [title, wrap] of Object.entries(envelopes)) {
      const { events, rejects, textOf } = parseBody(wrap(array), fields)
      t.equal(events.length, 1, title)
      t.same(rejects, [{ eventIndex: 1, reason: 'user_id_missing' }])
      t.equal(textOf(1), odd)
      const single = parseBody(wrap('{}'), fields)
      t.same(single.rejects, [{ eventIndex: 0, reason: 'user_id_missing' }])
      t.equal(single.textOf(0), wrap('{}'))
      t.same(parseBody(wrap('[]'), fields).rejects, [{ eventIndex: 0, reason: 'array_empty' }])
    }
    const noJson = parseBody(notification('hello'), fields)
    t.same(noJson.rejects, [{ eventIndex: 0, reason: 'json_invalid' }])
    t.equal(noJson.textOf(0), notification('hello'))
  },
)

t.test('the text that is sealed is the one that was rejected, also where a rule refuses the value', async t => {
  const sealed: string[] = []
  const { tokenizer, sealQuarantined } = freshVault()
  const listening = createTokenizeMessages(tokenizer, texts => {
    sealed.push(...texts)
    return sealQuarantined(texts)
  })
  const bad = JSON.stringify(loginEvent(2, { ip: '999.1.1.1' }))
  const array = `[${JSON.stringify(loginEvent(1))},${bad}]`
  listening([received('a', notification(array)), received('b', eventBridge(bad))])
  t.same(sealed, [bad, eventBridge(bad)])
})

t.test('each envelope is taken off once', async t => {
  const event = JSON.stringify(loginEvent(1))
  for (const twice of [notification(notification(event)), eventBridge(eventBridge(event))]) {
    t.same(parseBody(twice, fields).rejects, [{ eventIndex: 0, reason: 'user_id_missing' }])
    t.equal(parseBody(twice, fields).textOf(0), twice)
  }
})

t.test('what only looks like an envelope is none, and is kept whole', async t => {
  const bodies = [
    { Type: 'Notification', Message: loginEvent(1) },
    { Type: 'SubscriptionConfirmation', Message: JSON.stringify(loginEvent(1)) },
    { Message: JSON.stringify(loginEvent(1)) },
    { detail: [loginEvent(1)] },
    { detail: JSON.stringify(loginEvent(1)) },
    { detail: null },
    { ...loginEvent(1), user_id: undefined, detail: loginEvent(2) },
    [notification(JSON.stringify(loginEvent(1)))],
  ]
  for (const body of bodies) {
    const text = JSON.stringify(body)
    const { events, rejects, textOf } = parseBody(text, fields)
    t.same([events.length, rejects.length], [0, 1], text)
    if (!Array.isArray(body)) t.equal(textOf(0), text)
  }
  t.same(
    unwrap('{"__proto__":{"detail":{"user_id":"u"}}}').content,
    JSON.parse('{"__proto__":{"detail":{"user_id":"u"}}}'),
  )
})

t.test('a member that stands twice counts as JSON.parse counts it', async t => {
  const event = JSON.stringify(loginEvent(1))
  const body = `{"detail-type":"t","detail":[1],"d\\u0065tail" : [ ${event},7 ],"other":"detail"}`
  const { events, rejects, textOf } = parseBody(body, fields)
  t.same([events.length, rejects.length], [1, 1])
  t.equal(textOf(1), '7')
})

const decoy = fc.record(
  {
    Type: fc.constantFrom('Notification', 'x'),
    Message: fc.oneof(fc.json(), fc.constant(JSON.stringify(loginEvent(9)))),
    detail: fc.oneof(fc.jsonValue(), fc.constant(loginEvent(9)), fc.constant([loginEvent(9)])),
    'detail-type': fc.string(),
  },
  { requiredKeys: [] },
)

t.test('properties of envelopes', async t => {
  await checkProperty(
    t,
    'a login event is never mistaken for an envelope, whatever else it has',
    fc.property(decoy, fc.nat(1000), (extra, n) => {
      const { events } = parseBody(JSON.stringify({ ...extra, ...loginEvent(n) }), fields)
      return events.length === 1 && events[0]?.event.userId === `user-${n}`
    }),
    500,
  )
  await checkProperty(
    t,
    'whatever the body, nothing is thrown, every part is an event or a reject, and each reject has its text',
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.json(),
        decoy.map(value => JSON.stringify(value)),
        fc.tuple(fc.constantFrom(...Object.values(envelopes)), fc.json()).map(([wrap, text]) => wrap(text)),
        fc.array(decoy).map(value => eventBridge(JSON.stringify(value))),
      ),
      body => {
        const { events, rejects, textOf } = parseBody(body, fields)
        return (
          events.length + rejects.length > 0 &&
          rejects.every(({ eventIndex }) => body === '' || textOf(eventIndex) !== '')
        )
      },
    ),
    2000,
  )
  await checkProperty(
    t,
    'the text of the content is the text of the content',
    fc.property(fc.constantFrom(...Object.values(envelopes)), fc.array(fc.jsonValue()), (wrap, elements) => {
      const source = JSON.stringify(elements, null, 1)
      const { content, text } = unwrap(wrap(source))
      return text() === source && JSON.stringify(content) === JSON.stringify(JSON.parse(source))
    }),
    500,
  )
})

t.test('deep nesting and long keys in an envelope are no exception', async t => {
  const deep = `${'['.repeat(20_000)}1${']'.repeat(20_000)}`
  for (const wrap of Object.values(envelopes)) {
    const { rejects, textOf } = parseBody(wrap(deep), fields)
    t.equal(rejects.length, 1)
    t.ok(textOf(0).includes('[[[['))
  }
  const key = '\\"'.repeat(200_000)
  t.equal(parseBody(`{"${key}":1,"detail-type":"t","detail":[5]}`, fields).textOf(0), '5')
})
