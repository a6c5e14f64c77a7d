import t from 'tap'
import { createTokenizeMessages } from '../../../src/ingest/batch/tokenize-messages.ts'
import { createFieldSchema, loginFields } from '../../../src/vault/fields/fields.ts'
import { freshVault, loginEvent, poison, received } from '../../helpers/queue/events.ts'

const { tokenizer, sealQuarantined, tokenizeMessages } = freshVault()

/** Tokenizes, and tells what was sealed. */
function listen() {
  const sealed: string[] = []
  const listening = createTokenizeMessages(tokenizer, texts => {
    sealed.push(...texts)
    return sealQuarantined(texts)
  })
  return { sealed, listening }
}

t.test('a batch becomes rows with tokens, on the UTC day on which each message was sent', async t => {
  const event = JSON.stringify(loginEvent(1))
  const messages = tokenizeMessages([
    received('a', event),
    received('b', event, { sentAtMs: Date.UTC(2026, 2, 1) }),
    received('c', '[]'),
  ])
  t.same(
    messages.map(({ messageId, sentOn }) => [messageId, sentOn]),
    [
      ['a', '2026-02-28'],
      ['b', '2026-03-01'],
      ['c', '2026-02-28'],
    ],
  )
  const [row] = messages[0]!.rows
  t.match(row, { userId: 'user-1', deviceType: 'android', locale: 'PT', appVersion: 2, createDate: '2026-02-28' })
  t.match(
    row!.tokens.map(value => value?.token),
    [/^ip_v1_/, /^device_id_v1_/],
  )
  t.same(messages[1]!.rows[0]!.tokens, row!.tokens, 'equal values, equal tokens')
  t.match(messages[2], { rows: [], quarantined: [{ eventIndex: 0, reason: 'array_empty' }] })
})

t.test('the whole batch takes one tokenizer call a field and one sealing call', async t => {
  const calls: string[] = []
  const counting = createTokenizeMessages(
    {
      fields: tokenizer.fields,
      tokenizeValues(field, values) {
        calls.push(`${field} ${values.length}`)
        return tokenizer.tokenizeValues(field, values)
      },
    },
    texts => {
      calls.push(`seal ${texts.length}`)
      return sealQuarantined(texts)
    },
  )
  const array = JSON.stringify([loginEvent(1), 'no event', loginEvent(2)])
  counting([received('a', array), received('b', 'no json'), received('c', array)])
  t.same(calls, ['ip 4', 'device_id 4', 'seal 3'])
  t.same(counting([]), [])
})

t.test('a message that stands twice in a batch is tokenized once', async t => {
  const body = JSON.stringify(loginEvent(1))
  const messages = tokenizeMessages([received('a', body), received('b', body), received('a', body)])
  t.same(
    messages.map(({ messageId, rows }) => [messageId, rows.length]),
    [
      ['a', 1],
      ['b', 1],
    ],
  )
})

t.test('twelve kinds of poison are quarantined once each, without plaintext in any reason, beside rows', async t => {
  const messages = poison.flatMap(({ body }, n) => [
    received(`bad-${n}`, body),
    received(`good-${n}`, JSON.stringify(loginEvent(n))),
  ])
  const tokenized = tokenizeMessages(messages)
  t.equal(tokenized.flatMap(({ rows }) => rows).length, poison.length)
  t.same(
    tokenized.flatMap(({ quarantined }) => quarantined.map(({ reason }) => reason)),
    poison.map(({ reason }) => reason),
  )
  const ids = tokenized.flatMap(({ quarantined }) => quarantined.map(({ id }) => id))
  t.equal(new Set(ids).size, poison.length)
  const everything = JSON.stringify(tokenized, (_, value) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
  )
  t.notMatch(everything, /canary|593-47|10\.0\.0/)
})

t.test('an event of an array whose ip is no address is rejected alone and sealed as it was sent', async t => {
  const { sealed, listening } = listen()
  const bad = loginEvent(2, { ip: '999.1.1.1', device_id: 'x'.repeat(500) })
  const [message] = listening([received('a', JSON.stringify([loginEvent(1), bad, loginEvent(3)]))])
  t.equal(message!.rows.length, 2)
  t.match(message!.quarantined, [{ eventIndex: 1, reason: 'ip_invalid', dataKeyVersion: 1 }])
  t.same(sealed, [JSON.stringify(bad)])
})

t.test('placeholders become null in the row of their login, and are told by field', async t => {
  const events = [
    loginEvent(1, { ip: '0.0.0.0' }),
    loginEvent(2, { ip: '::', device_id: 'UNKNOWN' }),
    loginEvent(3),
    loginEvent(4, { ip: 'nowhere', device_id: 'null' }),
  ]
  const [message] = tokenizeMessages([received('a', JSON.stringify(events))])
  t.same(
    message!.rows.map(({ userId, tokens }) => [userId, ...tokens.map(value => value?.original.field ?? null)]),
    [
      ['user-1', null, 'device_id'],
      ['user-2', null, null],
      ['user-3', 'ip', 'device_id'],
    ],
  )
  t.match(message!.quarantined, [{ eventIndex: 3, reason: 'ip_invalid' }])
  t.same(message!.placeholders, ['ip', 'ip', 'device_id'], 'those of stored rows')
})

t.test('a field that is not required may be absent, null or empty; one that is may not', async t => {
  const optional = createFieldSchema([...loginFields.values()].map(field => ({ ...field, required: false })))
  const one = createTokenizeMessages({ ...tokenizer, fields: optional }, sealQuarantined)
  const read = (tokenize: typeof one, changes: Record<string, unknown>) => {
    const [message] = tokenize([received('a', JSON.stringify(loginEvent(1, changes)))])
    t.notOk(message!.placeholders, 'nothing is no placeholder')
    const tokens = message!.rows[0]?.tokens.map(value => value?.original.field ?? null)
    return tokens ?? message!.quarantined[0]!.reason
  }
  for (const value of [undefined, null, '', ' \n']) {
    t.same(read(one, { ip: value }), [null, 'device_id'], JSON.stringify(value))
    t.same(read(one, { ip: value, device_id: value }), [null, null])
    const reason = value == null ? 'device_id_missing' : 'device_id_invalid'
    t.equal(read(tokenizeMessages, { device_id: value }), reason)
  }
  for (const value of [0, false, [], {}, '1.2.3', 'a\0']) {
    t.equal(read(one, { ip: value }), 'ip_invalid', 'a value that is there and cannot be kept is not dropped')
  }
})

t.test(
  'a body of very many elements that are no events takes a bounded number of entries, and its events are stored',
  async t => {
    const elements = [...new Array(5000).fill(1), loginEvent(7), ...new Array(5000).fill({ a: ',"]' })]
    const [message] = tokenizeMessages([received('a', JSON.stringify(elements))])
    t.equal(message!.rows.length, 1)
    t.equal(message!.quarantined.length, 101)
    t.match(message!.quarantined.at(-1), { eventIndex: 100, reason: 'rejects_many' })

    const { sealed, listening } = listen()
    listening([received('a', JSON.stringify(elements)), received('b', '[1]')])
    t.equal(sealed.length, 102)
    t.same(
      JSON.parse(sealed.at(-1)!),
      elements.filter((_, index) => index !== 5000).slice(100),
      'nothing of it is lost',
    )
  },
)
