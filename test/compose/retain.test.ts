import t, { type Test } from 'tap'
import { type RetainOptions, retain } from '../../src/compose/retain.ts'
import { createIngestStore } from '../../src/store/ingest.ts'
import { createHoldStore } from '../../src/store/people/holds.ts'
import { loginFields } from '../../src/vault/fields/fields.ts'
import { parseFieldsFile } from '../../src/vault/files/fields-file.ts'
import { personKey } from '../../src/vault/people/person.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'

const today = new Date()
const dayMs = 86_400_000
const dayBefore = (days: number) => new Date(today.getTime() - days * dayMs).toISOString().slice(0, 10)
const monthOf = (day: string) => day.slice(0, 7)

const fieldsFile = (retention: string) =>
  parseFieldsFile(`version: 1
fields:
  - { name: ip, rule: ip.v1, column: masked_ip }
  - { name: device_id, rule: device_id.v1, column: masked_device_id }
  - { name: network, derive: network.v1, from: ip }
retention: ${retention}`)

/** A vault with rows of chosen days: a user, an address, a device, and how many days ago. */
async function build(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const database = vault.database(undefined, 3)
  const store = createIngestStore(vault.database('tokenvault_worker', 2), loginFields)
  const logIn = async (user: string, ip: string, device: string, daysAgo: number) => {
    const tokens = [
      vault.tokenizer.tokenizeValues('ip', [ip])[0],
      vault.tokenizer.tokenizeValues('device_id', [device])[0],
    ]
    const row = {
      ...{ userId: user, deviceType: 'ios', locale: null, appVersion: 1, createDate: dayBefore(0) },
      tokens: tokens.map(each => ('token' in each! ? each : t.bailout('refused'))) as never,
    }
    await store.storeMessages([
      { messageId: `${user}-${ip}-${device}-${daysAgo}`, sentOn: dayBefore(0), rows: [row], quarantined: [] },
    ])
    const age = [dayBefore(daysAgo), user]
    await admin.query('update public.user_logins set create_date = $1 where user_id = $2', age)
    if (daysAgo > 30) await admin.query('delete from ingest.receipts')
    const ids = tokens.map(each => (each as { original: { tokenId: string } }).original.tokenId)
    await admin.query(
      'update pii_vault.originals set created_at = least(created_at, $1::date) where token_id = any ($2::uuid[])',
      [dayBefore(daysAgo), ids],
    )
  }
  const run = (retention: string, more: Partial<RetainOptions> = {}) =>
    retain({
      ...{ database, keys: vault.keys, fields: loginFields, retention: fieldsFile(retention).retention!, today },
      ...{ isTrial: false, signal: new AbortController().signal, onProgress: () => {} },
      archive: () => Promise.reject(new Error('nothing is archived here')),
      ...more,
    })
  const count = async (what: string) => Number((await admin.query(`select count(*) from ${what}`)).rows[0].count)
  const hold = (user: string) =>
    createHoldStore(vault.database('tokenvault_privacy', 1)).hold({
      ...{ person: personKey(vault.keys, user), until: dayBefore(-30), reason: 'litigation' },
    })
  const events = async (type: string) => {
    const { rows } = await admin.query(
      `select convert_from(event, 'UTF8')::jsonb as event from pii_vault.audit_log order by sequence`,
    )
    return rows.map(({ event }) => event).filter(event => event.type === type)
  }
  const unmatched = async () => {
    const fields = ['{ip, device_id}', '{masked_ip, masked_device_id}']
    return (await admin.query('select * from pii_vault.reconcile_tokens($1, $2)', fields)).rows
  }
  return { vault, admin, logIn, run, count, hold, events, unmatched }
}

t.test('months that are over are dropped with an event, and a trial only counts them', async t => {
  const { logIn, run, count, events, admin } = await build(t)
  await logIn('old', '203.0.113.1', 'device-1', 400)
  await logIn('new', '203.0.113.2', 'device-1', 3)
  const expected = [{ month: monthOf(dayBefore(400)), rows: 1, afterwards: 'dropped' }]
  t.match(await run('{ logins: { months: 3, afterwards: drop } }', { isTrial: true }), { months: expected })
  t.equal(await count('public.user_logins'), 2)
  t.match(await run('{ logins: { months: 3, afterwards: drop } }'), { months: expected, heldMonths: [] })
  t.equal(await count('public.user_logins'), 1)
  t.match(await events('retain_logins'), [{ requested: 1, months: [monthOf(dayBefore(400))], channel: 'cli' }])
  t.strictSame((await run('{ logins: { months: 3, afterwards: drop } }')).months, [])
  t.equal(await count('pii_vault.originals'), 3, 'rows are dropped, and values are not')
  t.equal((await admin.query('select rows::int from pii_vault.dropped_months')).rows[0].rows, 1)
})

t.test(
  'an original lives for the days of its field after it was seen last, also in rows that were dropped',
  async t => {
    const { logIn, run, count, events, vault, admin, unmatched } = await build(t)
    await logIn('a', '203.0.113.1', 'device-1', 500)
    await logIn('b', '203.0.113.2', 'device-2', 200)
    await logIn('c', '203.0.113.1', 'device-3', 5)
    await admin.query(`update pii_vault.originals set kept_elsewhere = true where token_id = $1`, [
      (vault.tokenizer.tokenizeValues('device_id', ['device-1'])[0] as { original: { tokenId: string } }).original
        .tokenId,
    ])
    // The rows of all but c go, and with them what says when b was seen.
    t.match(await run('{ logins: { months: 2, afterwards: drop }, originals: { ip: 300, device_id: 300 } }'), {
      originals: { ip: 0, device_id: 0 },
    })
    t.equal(await count('public.user_logins'), 1)
    t.match(await run('{ originals: { ip: 100, device_id: 100 } }', { isTrial: true }), {
      originals: { ip: 1, device_id: 1 },
    })
    t.equal(await count('pii_vault.originals'), 5)
    t.match(await run('{ originals: { ip: 100, device_id: 100 } }'), { originals: { ip: 1, device_id: 1 } })
    t.equal(await count('pii_vault.originals'), 3, 'what was seen lately stays, and what services keep the token of')
    t.strictSame(await unmatched(), [], 'and reconcile misses nothing')
    t.match(await events('retain_originals'), [
      { requested: 1, fields: { ip: { granted: 1 } } },
      { requested: 1, fields: { device_id: { granted: 1 } } },
    ])
    await logIn('d', '203.0.113.2', 'device-2', 0)
    t.equal(await count('pii_vault.originals'), 5, 'a value that comes again has an original again')
  },
)

t.test('people under a legal hold keep rows, originals and bodies, and it is said by name', async t => {
  const { logIn, run, count, hold, admin } = await build(t)
  await logIn('held', '203.0.113.1', 'device-1', 400)
  await logIn('other', '203.0.113.2', 'device-2', 400)
  await hold('held')
  const all = '{ logins: { months: 2, afterwards: drop }, originals: { ip: 90, device_id: 90 }, quarantine: 40 }'
  const month = monthOf(dayBefore(400))
  t.match(await run(all), {
    ...{ months: [{ month, rows: 1 }], heldMonths: [month], originals: { ip: 1, device_id: 1 }, quarantineHeld: true },
  })
  t.strictSame((await admin.query('select user_id from public.user_logins')).rows, [{ user_id: 'held' }])
  t.equal(await count('pii_vault.originals'), 2)
  await admin.query(`delete from pii_vault.legal_holds`)
  t.match(await run(all), { months: [{ rows: 1 }], heldMonths: [], originals: { ip: 1, device_id: 1 } })
  t.equal(await count('pii_vault.originals'), 0)
})

t.test('old bodies and decided requests go; what is waiting for its redrive stays', async t => {
  const { admin, run, count, events } = await build(t)
  await admin.query(`
    insert into pii_vault.quarantine (id, message_id, event_index, reason, data_key_version, sealed, sent_on, state, created_at)
    select gen_random_uuid(), 'm' || n, 0, 'ip_invalid', 1, '\\x00', current_date, case n when 1 then 'redrive_requested' else 'quarantined' end,
      now() - make_interval(days => n * 20) from generate_series(1, 4) n`)
  await admin.query(`
    update pii_vault.quarantine set created_at = now() - interval '90 days' where state = 'redrive_requested'`)
  await admin.query(`
    insert into pii_vault.approvals (id, principal, issuer, subject, roles, purpose, reveal, "values", fields, digest, state, created_at, expires_at)
    select gen_random_uuid(), gen_random_uuid(), 'i', 's', '[]', 'fraud', 'full', 1, '{}', 'd' || n, 'pending',
      now() - make_interval(days => n * 50), now() - make_interval(days => n * 50 - 1) from generate_series(0, 3) n`)
  t.match(await run('{ quarantine: 50, approvals: 60 }'), { quarantined: 2, approvals: 2 })
  t.equal(await count(`pii_vault.quarantine where sealed is not null`), 2)
  t.equal(await count(`pii_vault.approvals`), 2)
  t.match(
    [...(await events('retain_quarantine')), ...(await events('retain_approvals'))],
    [{ requested: 2 }, { requested: 2 }],
  )
})

t.test('no row ever loses its original while logins go on', async t => {
  const { vault, logIn, run, admin } = await build(t)
  for (let n = 0; n < 40; n++) await logIn(`old-${n}`, `203.0.113.${n}`, `device-${n}`, 400)
  await admin.query('delete from public.user_logins')
  const store = createIngestStore(vault.database('tokenvault_worker', 2), loginFields)
  const stopping = new AbortController()
  const ingest = (async () => {
    for (let n = 0; !stopping.signal.aborted; n++) {
      const tokens = [
        vault.tokenizer.tokenizeValues('ip', [`203.0.113.${n % 40}`])[0]!,
        vault.tokenizer.tokenizeValues('device_id', [`device-${(n * 7) % 40}`])[0]!,
      ] as never
      const row = { userId: 'u', deviceType: null, locale: null, appVersion: 1, createDate: dayBefore(0), tokens }
      await store.storeMessages([{ messageId: `again-${n}`, sentOn: dayBefore(0), rows: [row], quarantined: [] }])
    }
  })()
  let expired = 0
  for (let round = 0; round < 6; round++) {
    await admin.query(`update pii_vault.originals set created_at = now() - interval '400 days'`)
    if (round === 3) await admin.query('delete from public.user_logins')
    const { originals } = await run('{ originals: { ip: 90, device_id: 90 } }')
    expired += originals['ip']! + originals['device_id']!
  }
  stopping.abort()
  await ingest
  const { rows } = await admin.query(`
    select count(*)::int as lost from public.user_logins as login
    where not exists (select from pii_vault.originals where token_id = pii_vault.token_id_of(masked_ip, 'ip', 'text'))
      or not exists (select from pii_vault.originals where token_id = pii_vault.token_id_of(masked_device_id, 'device_id', 'text'))`)
  t.equal(rows[0].lost, 0)
  t.ok(expired > 0, `${expired} originals expired meanwhile`)
})

t.test('what a file says of retention is refused by line where it would lose what is still to be proven', async t => {
  const wrong: [string, RegExp][] = [
    ['{}', /retention/],
    ['{ logins: { months: 1, afterwards: drop } }', /months/],
    ['{ logins: { months: 3, afterwards: archive } }', /archive needs `to`/],
    ['{ logins: { months: 3, afterwards: drop, to: "file:///x" } }', /to goes with archive/],
    ['{ originals: { ip: 30 } }', /entry of originals/],
    ['{ originals: { email: 400 } }', /there is no such field/],
    ['{ originals: { __proto__: 400 } }', /line 6/],
    ['{ quarantine: 3 }', /quarantine/],
    ['{ approvals: x }', /approvals/],
    ['{ receipts: 400 }', /unknown|receipts/],
  ]
  for (const [text, message] of wrong) t.throws(() => fieldsFile(text), { code: 'config_invalid', message }, text)
})
