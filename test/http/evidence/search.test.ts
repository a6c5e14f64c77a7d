import { randomInt } from 'node:crypto'
import t from 'tap'
import { textSpelling } from '../../../src/crypto/typed-token.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import { generateKey, type KeyPurpose, Keyset } from '../../../src/vault/keys/keyset.ts'
import { createChoices } from '../../helpers/evidence/audit-mutations.ts'
import { startEvidenceApp } from '../../helpers/http/evidence-app.ts'
import { parsePolicy } from '../../helpers/vault/vault-world.ts'

const purpose = 'data_subject_request'

/** Every page of a search, as an auditor would ask for them. */
async function searchAll(call: Awaited<ReturnType<typeof startEvidenceApp>>['call'], sought: object, limit: number) {
  const found: { sequence: number; type: string }[] = []
  for (let before: number | undefined; ; ) {
    const { status, json } = await call('/search', { body: { purpose, where: sought, limit, before } })
    if (status !== 200) throw new Error(`${status} ${json.code}`)
    found.push(...json.events)
    if (json.next === undefined) return found
    before = json.next
  }
}

t.test('whoever saw a token is found, among thousands of events, while others are written', async t => {
  const { call, reveal, admin, events, keys } = await startEvidenceApp(t)
  const seed = Number(process.env['FC_SEED'] ?? randomInt(2 ** 31))
  t.comment(`FC_SEED=${seed}`)
  const { below } = createChoices(seed)
  const tokens = Array.from(
    { length: 40 },
    (_, n) => `ip_v1_${Buffer.from(`token number ${n}`.padEnd(16)).toString('base64url')}`,
  )
  const digests = keys.digest.digest(tokens)
  // Token 0 is in very many events, token 39 in none.
  const draw = () => [...new Set([0, below(39), below(39)].slice(0, 1 + below(3)))]
  const past = Array.from({ length: 4_000 }, draw)
  await admin.query('SELECT pii_vault.append_audit($1)', [
    past.map(named => Buffer.from(JSON.stringify({ type: 'detokenize', tokens: named.map(n => digests[n]) }))),
  ])
  const naming = (n: number) => past.flatMap((named, sequence) => (named.includes(n) ? [sequence] : [])).reverse()

  let appending = true
  const written: { sequence: number; named: number[] }[] = []
  const writers = Array.from({ length: 2 }, async () => {
    while (appending) {
      const named = draw()
      written.push({ sequence: await reveal(named.map(n => tokens[n]!)), named })
    }
  })
  for (const [n, limit] of [
    [0, 1000],
    [7, 40],
    [38, 25],
  ] as const) {
    const before = written.filter(({ named }) => named.includes(n)).map(({ sequence }) => sequence)
    const found = await searchAll(call, { token: tokens[n] }, limit)
    const sequences = found.filter(({ type }) => type === 'detokenize').map(({ sequence }) => sequence)
    t.strictSame(
      sequences.filter(sequence => sequence < past.length),
      naming(n),
      `token ${n}: all of before, in order, once`,
    )
    t.strictSame(
      sequences,
      sequences.toSorted((a, b) => b - a),
    )
    t.ok(
      before.every(sequence => sequences.includes(sequence)),
      `and the ${before.length} that were answered before the search`,
    )
  }
  appending = false
  await Promise.all(writers)
  t.strictSame(await searchAll(call, { token: tokens[39] }, 10), [])
  for (const n of [1, 20]) {
    const found = (await searchAll(call, { token: tokens[n] }, 500)).filter(({ type }) => type === 'detokenize')
    const expected = written.filter(({ named }) => named.includes(n)).map(({ sequence }) => sequence)
    t.strictSame(
      found.map(({ sequence }) => sequence),
      [...naming(n), ...expected].toSorted((a, b) => b - a),
      `token ${n} in ${written.length} events that were written meanwhile`,
    )
  }
  t.strictSame((await call('/search', { body: { purpose, where: { token: tokens[1] }, before: 0 } })).json, {
    events: [],
  })
  const last = (await events()).filter(({ type }) => type === 'audit_search').at(-1)
  t.match(last, { subject: 'casey', purpose, requested: 1, granted: 1, tokens: [digests[1]], decision: 'permitted' })
})

t.test('a value is found under every version of its token key and of the audit key', async t => {
  const make = (purpose: KeyPurpose, field: string, version: number) =>
    generateKey({ purpose, field, version }, 'primary')
  const old = [make('token', 'ip', 1), make('token', 'device_id', 1), make('audit', '', 1)]
  const rotated = [make('token', 'ip', 2), make('token', 'device_id', 2), make('audit', '', 2)]
  const before = new FieldKeys(new Keyset(old), 'default')
  const now = new FieldKeys(
    new Keyset([...rotated, ...old.map(key => ({ ...key, status: 'active' as const }))]),
    'default',
  )
  const { call, reveal, app, admin } = await startEvidenceApp(t, { keys: now })
  const tokenOf = (keys: FieldKeys, version: number, value = '203.0.113.7') => {
    const bytes = Buffer.from(value)
    return keys.tokenKey('ip', version)!.tokensOf({ bytes, offsets: Uint32Array.of(0, bytes.length) }, textSpelling)[0]!
  }
  const first = tokenOf(now, 1)
  const second = tokenOf(now, 2)
  t.equal(first, tokenOf(before, 1))
  await reveal([first], before)
  await reveal([first], now)
  await reveal([second], now)
  await reveal(['ip_v2_8mJXb0vZ2m1n0kq3TnXo1Q'], now)
  // Of the time when an address without meaning was a value like others.
  await reveal([tokenOf(now, 1, '0.0.0.0')], before)
  const sequencesOf = async (sought: object) =>
    (await searchAll(call, sought, 100)).filter(({ type }) => type === 'detokenize').map(({ sequence }) => sequence)
  for (const value of ['203.0.113.7', ' 203.0.113.7 ', '::ffff:203.0.113.7', '::FFFF:CB00:7107'])
    t.strictSame(await sequencesOf({ field: 'ip', value }), [2, 1, 0], value)
  t.strictSame(await sequencesOf({ token: first }), [1, 0])
  t.strictSame(await sequencesOf({ token: second }), [2])
  t.strictSame(await sequencesOf({ field: 'ip', value: '203.0.113.8' }), [])
  t.strictSame(await sequencesOf({ field: 'ip', value: '0.0.0.0' }), [4], 'a placeholder of today')
  t.strictSame(await sequencesOf({ field: 'device_id', value: '203.0.113.7' }), [])

  const { rows } = await admin.query(
    `SELECT string_agg(convert_from(event, 'UTF8'), ' ') AS text FROM pii_vault.audit_log`,
  )
  for (const [name, text] of [
    ['the log', rows[0].text],
    ['our log', app.logged()],
  ])
    t.notOk(
      [first, second, '203.0.113', 'ffff'].some(secret => text.toLowerCase().includes(secret.toLowerCase())),
      name,
    )
  const { text } = await call('/search', { body: { purpose, where: { field: 'ip', value: '203.0.113.7' } } })
  t.notOk(
    [first, second, '203.0.113'].some(secret => text.includes(secret)),
    'nor is the reply an oracle for tokens',
  )
})

t.test('a token of a rotated key and its successor find the events of both', async t => {
  const { call, reveal, admin } = await startEvidenceApp(t)
  const token = (version: number, text: string) =>
    `ip_v${version}_${Buffer.from(text.padEnd(16)).toString('base64url')}`
  const [old, older, present, other] = [token(2, 'old'), token(1, 'older'), token(3, 'present'), token(3, 'other')]
  const id = (text: string) => Buffer.from(text.slice(6), 'base64url').toString('hex')
  const link = (from: string, version: number) =>
    admin.query(
      `INSERT INTO pii_vault.token_aliases (token_id, field, token_key_version, old_token, new_token, successor, proof)
       VALUES ($1, 'ip', $2, $3, $4, $5, '')`,
      [id(from), version, from, present, id(present)],
    )
  await link(old, 2)
  await link(older, 1)
  for (const one of [old, older, present, other]) await reveal([one])
  for (const one of [old, older, present]) {
    const found = await searchAll(call, { token: one, type: 'detokenize' }, 10)
    t.equal(found.length, 3, one)
  }
  t.equal((await searchAll(call, { token: other, type: 'detokenize' }, 10)).length, 1)
})

t.test('events of any shape are shown as far as they can be, and altered ones are not', async t => {
  const { call, admin, keys, tamper } = await startEvidenceApp(t)
  const token = 'ip_v1_8mJXb0vZ2m1n0kq3TnXo1Q'
  const tokens = keys.digest.digest([token])
  const odd = [
    { tokens },
    { tokens, type: 7, at: null, roles: 'all', requested: 1.5, granted: '2', concerns: 'x', issuer: ['x'] },
    {
      tokens,
      type: 'detokenize',
      roles: ['a', 1],
      concerns: { subject: 'kim', issuer: 3 },
      __proto__x: 1,
      secret: 'canary',
    },
    { tokens, type: 'approval_approve', roles: ['approver'], concerns: { issuer: 'i', subject: 'kim' }, partial: 2 },
    { tokens, format: '2', client: 7, actor: 'x', jwt: {}, channel: null, mode: 1, fields: ['canary'] },
    { tokens, format: 3, actor: { issuer: 1 }, fields: { ip: { requested: '1', granted: 1, level: 'full' }, a: null } },
    {
      ...{
        tokens,
        format: 2,
        client: 'desk',
        actor: { issuer: 'i', subject: 's', sub: 'canary' },
        jwt: 'd',
        channel: 'sql',
      },
      ...{ mode: 'store', fields: { ip: { requested: 2, granted: 1, level: 'full', x: 'canary' }, email: 'canary' } },
    },
  ]
  await admin.query('SELECT pii_vault.append_audit($1)', [odd.map(event => Buffer.from(JSON.stringify(event)))])
  const { json } = await call('/search', { body: { purpose, where: { token } } })
  t.strictSame(
    json.events.map(({ leafHash, ...event }: { leafHash: string }) => event),
    [
      {
        ...{ sequence: 6, format: 2, client: 'desk', jwt: 'd', channel: 'sql', mode: 'store' },
        ...{ actor: { issuer: 'i', subject: 's' }, fields: { ip: { requested: 2, granted: 1, level: 'full' } } },
      },
      { sequence: 5, format: 3, fields: {} },
      { sequence: 4 },
      {
        sequence: 3,
        type: 'approval_approve',
        roles: ['approver'],
        partial: 2,
        concerns: { issuer: 'i', subject: 'kim' },
      },
      { sequence: 2, type: 'detokenize', concerns: { subject: 'kim' } },
      { sequence: 1 },
      { sequence: 0 },
    ],
  )
  await tamper(`UPDATE pii_vault.audit_log SET event = convert_to('{"type":"canary"}', 'UTF8') WHERE sequence = 0`)
  const altered = await call('/search', { body: { purpose, where: { token } } })
  t.equal(altered.status, 500)
  t.notMatch(altered.text, /canary/)
  t.equal(
    (await call('/search', { body: { purpose, where: { token }, before: 3, limit: 2 } })).status,
    200,
    'the others still are',
  )
})

t.test('every way to the evidence is for auditors, is evidence itself, and tells nothing without it', async t => {
  let isDown = false
  const { call, reveal, startMaker, events, app } = await startEvidenceApp(t, {
    log: log => ({
      commit: act => {
        if (isDown) throw new Error('the log is away')
        return log.commit(act)
      },
    }),
  })
  const token = 'ip_v1_8mJXb0vZ2m1n0kq3TnXo1Q'
  await reveal([token])
  await startMaker()()
  const operations = [
    ['audit_prove', '/checkpoint', undefined],
    ['audit_prove', '/0/proof', undefined],
    ['audit_prove', '/consistency?from=1', undefined],
    ['audit_search', '/search', { purpose, where: { token } }],
    ['audit_search', '/search', { purpose, where: { field: 'ip', value: '203.0.113.7' } }],
  ] as const
  for (const [type, path, body] of operations) {
    const options = body === undefined ? {} : { body }
    for (const roles of [[], ['investigator', 'operator', 'analyst'], ['AUDITOR'], ['__proto__']]) {
      t.match(
        await call(path, { ...options, roles }),
        { status: 403, json: { code: 'role_not_permitted' } },
        `${path} ${roles}`,
      )
      const expected = {
        type,
        decision: 'refused',
        code: 'role_not_permitted',
        granted: 0,
        tokens: [],
        subject: 'casey',
      }
      t.match((await events()).at(-1), expected)
    }
    const before = (await events()).length
    t.equal((await call(path, { ...options, roles: ['analyst', 'auditor'] })).status, 200, path)
    const recorded = (await events()).slice(before)
    t.match(recorded, [{ type, decision: 'permitted', purpose: body === undefined ? '' : purpose }])
    isDown = true
    const { status, text, json } = await call(path, options)
    isDown = false
    t.match({ status, code: json.code }, { status: 503, code: 'audit_unavailable' })
    t.notMatch(text, /tokenvault\/default|inv-1|leafHash/)
    const init =
      body === undefined
        ? {}
        : { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
    t.equal((await fetch(`${app.origin}/v1/audit${path}`, init)).status, 401, `${path} without a JWT`)
  }
})

t.test(
  'values cannot be guessed without end: a search by value counts against a budget, one by token does not',
  async t => {
    const policy = parsePolicy('version: 1\nroles: { auditor: { audit: true, budget: { per_minute: 2, per_day: 3 } } }')
    const { call } = await startEvidenceApp(t, { policy })
    const byToken = { purpose, where: { token: 'ip_v1_8mJXb0vZ2m1n0kq3TnXo1Q' } }
    const guess = (n: number) => call('/search', { body: { purpose, where: { field: 'ip', value: `203.0.113.${n}` } } })
    for (const n of [1, 2]) t.equal((await guess(n)).status, 200)
    t.match(await guess(3), { status: 429, json: { code: 'budget_exceeded', window: 'minute' } })
    for (let time = 0; time < 3; time++) t.equal((await call('/search', { body: byToken })).status, 200)
  },
)

t.test('hostile searches are refused by name and repeat nothing', async t => {
  const { call, reveal } = await startEvidenceApp(t)
  const token = 'ip_v1_8mJXb0vZ2m1n0kq3TnXo1Q'
  await reveal([token])
  const wrongWhere: object[] = [
    ...[{}, { value: 'canary' }, { token, value: 'canary' }, { token, field: 'ip', value: '203.0.113.7' }],
    ...[
      { token: 'canary' },
      { token: '' },
      { token: `ip_v1_${'A'.repeat(300)}` },
      { token: `${token}\0` },
      { token: [token] },
    ],
    ...[
      { token, field: 'device_id' },
      { field: '__proto__', value: 'canary' },
      { field: 'email', value: 'canary' },
    ],
    ...[
      { field: 'ip', value: 'canary' },
      { field: 'device_id', value: '' },
      { field: 'device_id', value: token },
    ],
    ...[
      { field: 'device_id', value: 'canary'.repeat(10_000) },
      { field: 'device_id', value: '\ud800canary' },
    ],
    ...['subject', 'issuer', 'actor', 'actorIssuer', 'client', 'field', 'ticket', 'purpose', 'type', 'code'].flatMap(
      name => [
        ...[
          { [name]: '' },
          { [name]: ['canary'] },
          { [name]: { $ne: 'canary' } },
          { [name]: null },
          { [name]: 'canary'.repeat(200) },
        ],
      ],
    ),
    ...[
      { purpose: '203.0.113.7' },
      { ticket: '203.0.113.7' },
      { type: 'canary 1' },
      { code: '203.0.113.7' },
      { decision: 'canary' },
    ],
    ...['from', 'to'].flatMap(name =>
      [
        ...[
          'canary',
          'now',
          'infinity',
          '2026-03-01',
          '2026-03-01T00:00:00',
          '2026-03-01 00:00:00Z',
          '2026-02-30T00:00:00Z',
        ],
        ...['2026-13-01T00:00:00Z', '2026-03-01T24:00:00Z', '2026-03-01T00:00:60Z', '2026-03-01T00:00:00.1234Z'],
        ...['2026-03-01T00:00:00+25:00', '+002026-03-01T00:00:00Z', '2026-03-01T00:00:00Z\0', 1_770_000_000],
      ].map(time => ({ subject: 'kim', [name]: time })),
    ),
    { from: '2026-03-01T00:00:00Z', to: '2026-03-01T00:00:00Z' },
    { from: '2026-03-01T00:00:00Z', to: '2026-03-01T00:30:00+01:00' },
  ]
  const wrong: [code: string, body: object | string][] = [
    ['request_invalid', { purpose }],
    ...wrongWhere.map(where => ['request_invalid', { purpose, where }] as [string, object]),
    ...[[], 'canary', null, 7].map(where => ['request_invalid', { purpose, where }] as [string, object]),
    ['body_too_large', { purpose, where: { field: 'device_id', value: 'canary'.repeat(100_000) } }],
    ['body_too_large', { purpose, where: { subject: 'canary'.repeat(100_000) } }],
    ...[0, -1, 1001, 1e9, 1.5, '5', null].map(
      limit => ['request_invalid', { purpose, where: { token }, limit }] as [string, object],
    ),
    ...[-1, 0.5, 2 ** 53, '1', {}].map(
      before => ['request_invalid', { purpose, where: { token }, before }] as [string, object],
    ),
    ['request_invalid', `{"purpose":"${purpose}","where":{"token":"${token}"},"before":1e99}`],
    ['property_unknown', { purpose, where: { token }, canary: 1 }],
    ['property_unknown', { purpose, where: { token, canary: 1 } }],
    ['property_unknown', { purpose, where: { token }, token }],
    ['purpose_missing', { where: { token } }],
    ['purpose_missing', { purpose: '', where: { token } }],
    ['purpose_invalid', { purpose: 'canary 203.0.113.7', where: { token } }],
    ['body_malformed', `{"purpose":"${purpose}","purpose":"canary","where":{"token":"${token}"}}`],
    ['body_malformed', `{"purpose":"${purpose}","where":{"token":"${token}","token":"canary"}}`],
  ]
  for (const [code, body] of wrong) {
    const { status, text, json } = await call('/search', { body })
    const expected = code === 'body_too_large' ? 413 : 400
    t.strictSame({ status, code: json.code }, { status: expected, code }, JSON.stringify(body).slice(0, 120))
    t.notMatch(text, /canary|8mJXb0/)
  }
  const largest = await call('/search', {
    body: { purpose, where: { token }, limit: 1000, before: Number.MAX_SAFE_INTEGER },
  })
  t.match(largest, { status: 200, json: { events: [{ sequence: 0 }] } })
})
