import fc from 'fast-check'
import t from 'tap'
import { createTokenizeMessages } from '../../../src/ingest/batch/tokenize-messages.ts'
import { parseBody } from '../../../src/ingest/events/parse.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { checkProperty, unicodeText } from '../../helpers/crypto/property.ts'
import { freshVault, loginEvent, poison, received } from '../../helpers/queue/events.ts'

const fields = [...loginFields.values()]
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
t.comment(`SEED=${seed}`)

const knownReason =
  /^(json_invalid|array_empty|layers_too_many|payload_in_s3|event_not_object|name_repeated|(user_id|ip|device_id)_(missing|invalid|too_long))$/

const eventLike = fc.record(
  {
    user_id: fc.oneof(unicodeText(20), fc.constant('u')),
    device_type: fc.oneof(fc.string(), fc.constant('ios')),
    locale: fc.oneof(fc.constant(null), fc.string(), fc.jsonValue()),
    app_version: fc.oneof(fc.constant('2.3.0'), fc.string()),
    ip: fc.oneof(fc.ipV4(), fc.ipV6(), fc.jsonValue()),
    device_id: fc.oneof(fc.string(), fc.jsonValue()),
  },
  { requiredKeys: [] },
)
const element = fc.oneof(eventLike, fc.jsonValue(), fc.constant(loginEvent(1)))
/** What no layer is, so that it stands for one event or one reject. */
const plainElement = element.filter(value => !Array.isArray(value) && typeof value !== 'string')

t.test('any text whatever is parsed without an exception and with reasons of ours', async t => {
  fc.assert(
    fc.property(
      fc.oneof(
        unicodeText(20),
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
    fc.property(fc.array(plainElement, { minLength: 1 }), fc.constantFrom(undefined, 1, '\t'), (elements, indent) => {
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
      [4, 'user-3'],
    ],
  )
  t.same(rejects, [
    { eventIndex: 1, reason: 'user_id_missing' },
    { eventIndex: 3, reason: 'event_not_object' },
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
    if (reason.startsWith('ip_') || reason.startsWith('device_id_') || reason === 'value_is_token') {
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

/** The record of another queue's message, as EventBridge Pipes and Lambda hand it on. */
function queueRecord(body: string): string {
  return JSON.stringify({
    messageId: '059f36b4-87a3-44ab-83d2-661975830a7d',
    receiptHandle: 'AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a…',
    body,
    attributes: { ApproximateReceiveCount: '1', SentTimestamp: '1545082649183' },
    messageAttributes: {},
    md5OfBody: 'e4e68fb7bd0e697a0ae8f1bb342846b3',
    eventSource: 'aws:sqs',
    eventSourceARN: 'arn:aws:sqs:us-east-2:123456789012:other',
    awsRegion: 'us-east-2',
  })
}

/** What a transformer makes of EventBridge's detail. */
function eventBridgeText(detail: string): string {
  return JSON.stringify({ 'detail-type': 'Login', detail })
}

const envelopes: Readonly<Record<string, (text: string) => string>> = {
  SNS: notification,
  'SNS, with nothing else in it': Message => JSON.stringify({ Type: 'Notification', Message }),
  EventBridge: eventBridge,
  'EventBridge to SNS': text => notification(eventBridge(text)),
  'SNS to EventBridge': text => eventBridge(notification(text)),
  'EventBridge, with a text': eventBridgeText,
  'a record of another queue': queueRecord,
  'SNS to a queue to EventBridge Pipes': text => queueRecord(notification(text)),
  'SNS to SNS': text => notification(notification(text)),
  'a JSON text': text => JSON.stringify(text),
  'a JSON text, in SNS': text => notification(JSON.stringify(text)),
  'a JSON text of a JSON text': text => JSON.stringify(JSON.stringify(text)),
  'a byte-order mark': text => `\ufeff${text}`,
  'a byte-order mark, in SNS': text => notification(`\ufeff${text}`),
  'a byte-order mark and white space, in a JSON text': text => JSON.stringify(`\ufeff\r\n ${text}`),
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
      t.same(rejects, [{ eventIndex: 1, reason: 'name_repeated' }])
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

t.test('layers are taken off wherever they stand, up to eight, and what is deeper is kept', async t => {
  const event = JSON.stringify(loginEvent(1))
  for (const wrap of [notification, queueRecord, eventBridge, (text: string) => `[${text}]`]) {
    let body = event
    for (let layer = 1; layer <= 8; layer++) {
      body = wrap(body)
      // Each SNS layer escapes the one within it, which doubles its quotes and backslashes.
      if (body.length > 1_000_000) break
      t.match(parseBody(body, fields), { events: [{ eventIndex: 0 }], rejects: [] }, `${layer}`)
    }
  }
  const deepest = Array.from({ length: 9 }).reduce<string>(body => eventBridge(body), event)
  const { rejects, textOf } = parseBody(deepest, fields)
  t.same(rejects, [{ eventIndex: 0, reason: 'layers_too_many' }])
  t.equal(textOf(0), deepest)
})

t.test('an array holds envelopes, texts and events of every kind beside one another', async t => {
  const [first, second, third] = [1, 2, 3].map(n => JSON.stringify(loginEvent(n))) as [string, string, string]
  const bad = notification('{}')
  const body = `[${notification(first)}, ${bad} ,${eventBridge(`[${second},7]`)},${JSON.stringify(third)},"hello",[]]`
  const { events, rejects, textOf } = parseBody(body, fields)
  t.same(
    events.map(({ eventIndex, event }) => [eventIndex, event.userId]),
    [
      [0, 'user-1'],
      [2, 'user-2'],
      [4, 'user-3'],
    ],
  )
  t.same(
    rejects.map(({ eventIndex, reason }) => [eventIndex, reason, textOf(eventIndex)]),
    [
      [1, 'user_id_missing', bad],
      [3, 'event_not_object', '7'],
      [5, 'event_not_object', '"hello"'],
      [6, 'array_empty', '[]'],
    ],
  )
})

t.test('a body that an extended client put into S3 is one reject with a reason of its own', async t => {
  const pointer = { s3BucketName: 'logins', s3Key: 'c2b0d6a8-canary' }
  for (const content of [
    ['software.amazon.payloadoffloading.PayloadS3Pointer', pointer],
    ['com.amazon.sqs.javamessaging.MessageS3Pointer', pointer],
    pointer,
  ]) {
    const text = JSON.stringify(content)
    for (const body of [text, ...Object.values(envelopes).map(wrap => wrap(text))]) {
      const { events, rejects, textOf } = parseBody(body, fields)
      t.same([events, rejects], [[], [{ eventIndex: 0, reason: 'payload_in_s3' }]], body)
      t.equal(textOf(0), body)
    }
    t.match(parseBody(`[${text},${JSON.stringify(loginEvent(1))}]`, fields), {
      events: [{ eventIndex: 1 }],
      rejects: [{ eventIndex: 0, reason: 'payload_in_s3' }],
    })
  }
  for (const content of [
    ['PayloadS3Pointer', 7],
    [pointer, pointer],
    ['S3Pointer', pointer, 1],
  ]) {
    t.notMatch(parseBody(JSON.stringify(content), fields).rejects, [{ reason: 'payload_in_s3', eventIndex: 1 }])
    t.not(parseBody(JSON.stringify(content), fields).rejects.length, 0)
  }
})

t.test('a name that stands twice is refused wherever and however it is written, and only there', async t => {
  const event = JSON.stringify(loginEvent(1))
  const put = (text: string) => event.replace('{', `{${text},`)
  const repeated = [
    put('"user_id":"other"'),
    put('"ip":"10.0.0.9"'),
    put('"\\u0069p":"10.0.0.9"'),
    put('"user_id" : "user-1"'),
    put('"app_version":"1"'),
    put('"later":1,"later":1'),
    put('"later":{"a":{"b":1,"b":2}}'),
    put('"later":[[{"b":[],"b":{}}]]'),
    put('"__proto__":1,"__proto__":2'),
    put('"":1,"":2'),
    put('"a\\"":1,"a\\u0022":2'),
  ]
  for (const text of repeated) {
    for (const wrap of [(inner: string) => inner, ...Object.values(envelopes)]) {
      const body = wrap(text)
      const { events, rejects, textOf } = parseBody(body, fields)
      t.same([events, rejects], [[], [{ eventIndex: 0, reason: 'name_repeated' }]], body)
      t.equal(textOf(0), body)
      const beside = parseBody(wrap(`[${event},${text} , ${event}]`), fields)
      t.match(
        beside,
        { events: [{ eventIndex: 0 }, { eventIndex: 2 }], rejects: [{ eventIndex: 1 }] },
        'not its neighbours',
      )
      t.equal(beside.textOf(1), text)
    }
  }
  for (const text of [
    put('"A":1,"a":2'),
    put('"later":{"ip":1,"user_id":{"user_id":2}}'),
    put('"later":"a\\":{\\"b\\":1,\\"b\\":2}:\\\\"'),
    put('"later":[{"a":1},{"a":2}]'),
    put('"a:b":":"'),
  ]) {
    t.equal(parseBody(text, fields).events.length, 1, text)
  }
})

t.test('an envelope that says two things at once is refused whole', async t => {
  const event = JSON.stringify(loginEvent(1))
  const message = JSON.stringify(event)
  for (const body of [
    `{"detail-type":"t","detail":[1],"d\\u0065tail" : [ ${event},7 ],"other":"detail"}`,
    `{"detail":{},"detail":${event}}`,
    `{"Type":"Notification","Message":"{}","Message":${message}}`,
    `{"Type":"Other","Type":"Notification","Message":${message}}`,
    `{"eventSource":"aws:sqs","body":"{}","body":${message}}`,
  ]) {
    const { events, rejects, textOf } = parseBody(body, fields)
    t.same([events, rejects], [[], [{ eventIndex: 0, reason: 'name_repeated' }]], body)
    t.equal(textOf(0), body)
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
    { eventSource: 'aws:sqs', body: loginEvent(1) },
    { body: JSON.stringify(loginEvent(1)) },
    ['hello'],
    'hello',
    JSON.stringify('hello'),
  ]
  for (const body of bodies) {
    const text = JSON.stringify(body)
    const { events, rejects, textOf } = parseBody(text, fields)
    t.same([events.length, rejects.length], [0, 1], text)
    t.equal(textOf(0), Array.isArray(body) ? '"hello"' : text)
  }
  const inherited = `{"__proto__":{"detail":${JSON.stringify(loginEvent(1))}}}`
  t.same(parseBody(inherited, fields).rejects, [{ eventIndex: 0, reason: 'user_id_missing' }])
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
        unicodeText(20),
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
    'the text of each reject is the text that was sent',
    fc.property(
      fc.constantFrom(...Object.values(envelopes)),
      fc.array(
        fc.integer().map(n => `{"number": ${n}.00 }`),
        { minLength: 1 },
      ),
      (wrap, elements) => {
        const { rejects, textOf } = parseBody(wrap(`[\n${elements.join(' ,')}]`), fields)
        return rejects.length === elements.length && elements.every((text, index) => textOf(index) === text)
      },
    ),
    500,
  )
  const leaf = fc.nat(1000).map(n => ({ text: JSON.stringify(loginEvent(n)), users: [`user-${n}`], layers: 0 }))
  type Tree = { readonly text: string; readonly users: readonly string[]; readonly layers: number }
  const { tree } = fc.letrec<{ tree: Tree }>(tie => ({
    tree: fc.oneof(
      { depthSize: 'small', maxDepth: 5 },
      leaf,
      fc
        .tuple(fc.constantFrom(notification, eventBridge, eventBridgeText, queueRecord, JSON.stringify), tie('tree'))
        .map(([wrap, { text, users, layers }]) => ({ text: wrap(text), users, layers: layers + 1 })),
      fc.array(tie('tree'), { minLength: 1, maxLength: 3 }).map(trees => ({
        text: `[${trees.map(({ text }) => text).join()}]`,
        users: trees.flatMap(({ users }) => users),
        layers: 1 + Math.max(...trees.map(({ layers }) => layers)),
      })),
    ),
  }))
  await checkProperty(
    t,
    'events are found through all layers, in their order',
    fc.property(tree, ({ text, users, layers }) => {
      const { events, rejects } = parseBody(text, fields)
      const found = events.map(({ event }) => event.userId)
      return layers > 8 || (rejects.length === 0 && found.join() === users.join())
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
