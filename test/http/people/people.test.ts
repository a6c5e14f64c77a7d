import { readFileSync } from 'node:fs'
import t from 'tap'
import { startVaultApi } from '../../helpers/http/vault-api.ts'
import { quarantine } from '../../helpers/vault/quarantine.ts'

const policy = readFileSync(new URL('../../../deploy/policy.yaml', import.meta.url), 'utf8')
const privacy = { sub: 'dora', roles: ['privacy'] }
const investigator = { sub: 'casey', roles: ['investigator'] }

t.test(
  'a person is shown with rows, tokens, who saw a value and a hold; each call is an event without the user id',
  async t => {
    const api = await startVaultApi(t, { policy, originals: 3 })
    const admin = await api.vault.connect()
    const nfd = 'zoe\u0308 o/%\u{1F600}'
    await admin.query('INSERT INTO user_logins (user_id, masked_ip, create_date) VALUES ($1, $2, $3)', [
      nfd,
      api.tokens[0],
      '2026-01-31',
    ])
    const token = api.tokens[1]!
    const bodies = ['{"user_id":"user-1","ip":"n/a"}', '{"user_id":"user-10"}', 'user-1', '[1]']
    const [entry] = await quarantine(api.vault, bodies, { prefix: 'broken' })
    const seen = { purpose: 'fraud_investigation', tokens: [token], ticket: 'SEC-7' }
    t.equal((await api.call(investigator, 'POST', '/v1/detokenize', seen)).status, 200)

    const shown = await api.call(privacy, 'GET', '/v1/people/user-1')
    t.equal(shown.status, 200)
    const month = new Date().toISOString().slice(0, 7)
    t.match(shown.json, {
      rows: 1,
      months: [{ month, rows: 1 }],
      tokens: [
        { field: 'ip', tokens: [token], hasMore: false },
        { field: 'device_id', hasMore: false },
      ],
      quarantined: { entries: [entry], examined: 4, unattributed: 2, isComplete: true },
      exports: [],
      access: {
        events: [{ type: 'detokenize', subject: 'casey', purpose: 'fraud_investigation', ticket: 'SEC-7' }],
        isComplete: true,
      },
    })
    t.equal(shown.json['access'].events.length, 1)
    t.notOk('hold' in shown.json)

    const lookUp = (userId: string, caller = privacy) => api.call(caller, 'POST', '/v1/people/show', { userId })
    t.match(await lookUp(nfd), { status: 200, json: { rows: 1, months: [{ month: '2026-01' }] } })
    t.match(await lookUp(nfd.normalize('NFC')), {
      status: 404,
      json: { code: 'person_unknown', detail: /its other Unicode form, NFD/ },
    })
    t.match((await lookUp('USER-1')).json, { code: 'person_unknown' }, 'bytes are compared')
    for (const userId of ['', '\0', 'a\0b', '\ud800', 'x'.repeat(129), '😀'.repeat(129)])
      t.match(await lookUp(userId), { status: 400, json: { code: 'request_invalid' } })
    for (const userId of ['__proto__', 'constructor', "' OR 1=1 --", '😀'.repeat(128)])
      t.match(await lookUp(userId), { status: 404, json: { code: 'person_unknown' } })
    for (const userId of ['user-1', 'nobody'])
      t.match(await lookUp(userId, investigator), { status: 403, json: { code: 'role_not_permitted' } }, 'known or not')

    const until = '2999-12-31'
    const hold = (userId: string, change: object = {}) =>
      api.call(privacy, 'POST', '/v1/people/hold', {
        userId,
        until,
        reason: 'litigation',
        ticket: 'LEGAL-1',
        ...change,
      })
    t.match(await hold('user-1'), { status: 200, json: { state: 'held', until } })
    t.match((await lookUp('user-1')).json, { hold: { until, reason: 'litigation' } })
    t.match((await hold('nobody')).json, { code: 'person_unknown' })
    for (const day of ['2999-02-30', '2001-01-01', '9999-99-99'])
      t.match((await hold('user-1', { until: day })).json, { code: 'request_invalid' })
    const release = () => api.call(privacy, 'POST', '/v1/people/release', { userId: 'user-1' })
    t.match(await release(), { status: 200, json: { state: 'released' } })
    t.match(await release(), { status: 404, json: { code: 'person_not_held' } })
    t.notOk('hold' in (await lookUp('user-1')).json)

    const events = (await api.events()).filter(({ type }) => String(type).startsWith('person_'))
    const { person } = shown.json
    t.match(person, /^[\w-]{22}$/)
    t.strictSame(
      [...new Set(events.filter(event => event['person'] === person).map(({ type }) => type))],
      ['person_show', 'person_hold', 'person_release'],
    )
    const found = await api.call({ sub: 'ada', roles: ['auditor'] }, 'POST', '/v1/audit/search', {
      purpose: 'internal_audit',
      where: { person, type: 'person_hold' },
    })
    t.match(found.json['events'], [{ type: 'person_hold', subject: 'dora', ticket: 'LEGAL-1', person }])
    const { rows } = await admin.query(`SELECT convert_from(event, 'UTF8') AS event FROM pii_vault.audit_log`)
    for (const text of [api.logged(), ...rows.map(({ event }) => event)])
      for (const userId of ['user-1', nfd, nfd.normalize('NFC'), 'nobody']) t.notOk(text.includes(userId))
  },
)

t.test('without PRIVACY_DATABASE_URL the API says so, and a wrong login keeps it from starting', async t => {
  const api = await startVaultApi(t, { policy, originals: 1, environment: { PRIVACY_DATABASE_URL: '' } })
  t.match(await api.call(privacy, 'GET', '/v1/people/user-0'), { status: 501, json: { code: 'people_off' } })
  t.match(await api.call(investigator, 'GET', '/v1/people/user-0'), { status: 403 }, 'only those who may know')
  await t.rejects(
    startVaultApi(t, { world: api, environment: { PRIVACY_DATABASE_URL: api.vault.urlFor('tokenvault_store') } }),
    { code: 'store_misconfigured' },
  )
})
