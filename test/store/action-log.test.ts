import t, { type Test } from 'tap'
import { createActionLog } from '../../src/store/action-log.ts'
import { createDatabase } from '../../src/store/postgres/database.ts'
import type { AuditEvent } from '../../src/vault/admission/ports.ts'
import { foldSubtreeRoots, leafHash, treeHead } from '../helpers/evidence/merkle-tree.ts'
import { startDatabaseProxy } from '../helpers/postgres/database-proxy.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { commitEvent, makeAction, principalNamed } from '../helpers/vault/actions.ts'

async function startAudit(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const newLog = () => createActionLog(vault.database('tokenvault_api', 1))
  const stored = async () => {
    const { rows } = await admin.query(
      'SELECT sequence::int, event, leaf_hash FROM pii_vault.audit_log ORDER BY sequence',
    )
    return rows as { sequence: number; event: Buffer; leaf_hash: Buffer }[]
  }
  const requestIds = async () => (await stored()).map(({ event }) => JSON.parse(event.toString()).requestId)
  const head = async () => {
    const { rows } = await admin.query('SELECT tree_size::int AS size, frontier FROM pii_vault.audit_head')
    return rows[0] as { size: number; frontier: Buffer[] }
  }
  return { ...vault, admin, newLog, stored, requestIds, head }
}

t.test('events that wait together are stored in the order they came, also more than one commit takes', async t => {
  const { newLog, requestIds } = await startAudit(t)
  const log = newLog()
  const names = Array.from({ length: 1200 }, (_, n) => `r-${n}`)
  const receipts = await Promise.all(names.map(name => commitEvent(log, makeAction(name))))
  t.strictSame(
    receipts.map(({ sequence }) => sequence),
    names.map((_, n) => n),
  )
  t.strictSame(await requestIds(), names)
})

t.test('the head is that of RFC 9162 for every size from 0 to 70, however the events were grouped', async t => {
  const { connect, stored, head } = await startAudit(t)
  const api = await connect('tokenvault_api')
  const entries: Buffer[] = []
  t.same(foldSubtreeRoots((await head()).frontier), treeHead([]))
  for (let group = 1; entries.length < 70; group = (group % 4) + 1) {
    const events = Array.from({ length: group }, (_, n) => Buffer.from(JSON.stringify({ n: entries.length + n })))
    await api.query('SELECT pii_vault.append_audit($1)', [events])
    for (const event of events) entries.push(event)
    const { size, frontier } = await head()
    t.equal(size, entries.length)
    t.same(foldSubtreeRoots(frontier), treeHead(entries), `of ${size} events`)
  }
  // Sizes that a group passed over.
  const one = await startAudit(t)
  const single = await one.connect('tokenvault_api')
  for (const [index, event] of entries.entries()) {
    await single.query('SELECT pii_vault.append_audit($1)', [[event]])
    const { frontier } = await one.head()
    t.same(foldSubtreeRoots(frontier), treeHead(entries.slice(0, index + 1)))
  }
  for (const { event, leaf_hash } of await stored()) t.same(leaf_hash, leafHash(event))
})

t.test('what is stored is exactly what was given, and an append without events adds none', async t => {
  const { connect, newLog, stored, head } = await startAudit(t)
  const action = makeAction('r-1', { principal: principalNamed('Ærøskøbing "quoted" \\ 🔑') })
  const committed = await commitEvent(newLog(), action)
  const [row] = await stored()
  t.equal(row!.event.toString(), JSON.stringify(action.events.admitted))
  t.same(committed.leafHash, leafHash(row!.event))
  const api = await connect('tokenvault_api')
  t.match((await api.query(`SELECT pii_vault.append_audit('{}') AS first`)).rows, [{ first: '1' }])
  for (const events of ['NULL', 'ARRAY[NULL]::bytea[]', `ARRAY['\\xff'::bytea]`, `ARRAY['\\x7b007d'::bytea]`]) {
    await t.rejects(api.query(`SELECT pii_vault.append_audit(${events})`), { code: /^2/ }, events)
  }
  t.equal((await head()).size, 1)
})

t.test('nobody rewrites the log by mistake, not its owner and not the superuser', async t => {
  const { admin, newLog, stored } = await startAudit(t)
  await newLog().commit(makeAction('r-1'))
  const before = await stored()
  for (const role of ['tokenvault_owner', 'NONE']) {
    await admin.query(`SET ROLE ${role}`)
    for (const statement of [
      `UPDATE pii_vault.audit_log SET event = ''`,
      `UPDATE pii_vault.audit_log SET event = '' WHERE false`,
      'DELETE FROM pii_vault.audit_log',
      'TRUNCATE pii_vault.audit_log',
      `INSERT INTO pii_vault.audit_log SELECT * FROM pii_vault.audit_log ON CONFLICT (sequence) DO UPDATE SET event = ''`,
      'MERGE INTO pii_vault.audit_log USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE',
    ]) {
      await t.rejects(admin.query(statement), { code: '42501', message: 'audit_log is append-only' }, statement)
    }
  }
  t.strictSame(await stored(), before)
})

t.test('the auditor reads events as columns', async t => {
  const { connect, newLog } = await startAudit(t)
  const log = newLog()
  const refused = { decision: 'refused', code: 'role_not_permitted', granted: 0, tokens: [] } as const
  await log.commit(makeAction('r-1'))
  await log.commit(
    makeAction(
      'r-2',
      {},
      { ...refused, ticket: 'SEC-1', partial: 1, approval: 'a', concerns: { subject: 's' }, policy: 'p', count: 3 },
    ),
  )
  const auditor = await connect('tokenvault_auditor')
  const { rows } = await auditor.query('SELECT * FROM pii_vault.audit_events ORDER BY sequence')
  const first = {
    sequence: '0',
    at: new Date('2026-01-02T03:04:05.678Z'),
    type: 'detokenize',
    subject: 'casey',
    issuer: 'https://issuer.test',
    roles: ['investigator'],
    purpose: 'fraud_investigation',
    decision: 'permitted',
    code: null,
    requested: 2,
    granted: 1,
    tokens: ['AAAAAAAAAAAAAAAAAAAAAA'],
    withheld: { token_unknown: 1 },
    quarantine: null,
    request_id: 'r-1',
    ticket: null,
    partial: null,
    approval: null,
    concerns: null,
    policy: null,
    count: null,
    until: null,
  }
  const later = { ticket: 'SEC-1', partial: 1, approval: 'a', concerns: { subject: 's' }, policy: 'p', count: 3 }
  t.strictSame(rows, [first, { ...first, ...refused, ...later, sequence: '1', request_id: 'r-2' }])
})

t.test('an event of any other shape hides no other event from the auditor', async t => {
  const { connect, newLog } = await startAudit(t)
  const odd = [
    '',
    'no json',
    'null',
    '"text"',
    '[1]',
    '{"at": "yesterday-ish", "requested": "many", "granted": 1e99}',
    '{"subject": "nul \\u0000"}',
    '{"subject": "lone \\ud800"}',
    `${'['.repeat(10_000)}`,
  ]
  const api = await connect('tokenvault_api')
  await api.query('SELECT pii_vault.append_audit($1)', [odd.map(text => Buffer.from(text))])
  await newLog().commit(makeAction('after'))
  const auditor = await connect('tokenvault_auditor')
  const { rows } = await auditor.query(`SELECT * FROM pii_vault.audit_events ORDER BY sequence`)
  t.equal(rows.length, odd.length + 1)
  t.equal(rows.at(-1).request_id, 'after')
})

t.test('a failed commit rejects its own events, and no others', async t => {
  const { admin, connect, newLog, requestIds } = await startAudit(t)
  const log = newLog()
  const blocker = await connect()
  await blocker.query('BEGIN; SELECT FROM pii_vault.audit_head FOR UPDATE')
  const first = log.commit(makeAction('first'))
  let isWaiting = false
  while (!isWaiting) {
    const { rowCount } = await admin.query(`SELECT FROM pg_stat_activity
      WHERE usename = 'tokenvault_api' AND wait_event_type = 'Lock' AND datname = current_database()`)
    isWaiting = rowCount === 1
  }
  // These wait for the commit under way, and share the next.
  const denied = { code: 'store_misconfigured', message: /SQLSTATE 42501$/ }
  const second = t.rejects(log.commit(makeAction('second')), denied)
  const third = t.rejects(log.commit(makeAction('third')), denied)
  await admin.query('REVOKE EXECUTE ON FUNCTION pii_vault.commit_plain_actions FROM tokenvault_api')
  await blocker.query('ROLLBACK')
  t.match(await first, { sequence: 0 })
  await Promise.all([second, third])
  await t.rejects(log.commit(makeAction('fourth')), denied)
  await admin.query('GRANT EXECUTE ON FUNCTION pii_vault.commit_plain_actions TO tokenvault_api')
  t.match(await log.commit(makeAction('fifth')), { sequence: 1 })
  t.strictSame(await requestIds(), ['first', 'fifth'])
})

t.test('a group ends at 4 MiB of events, and one event may be larger', async t => {
  const { admin, newLog } = await startAudit(t)
  const log = newLog()
  const withTokens = (name: string, count: number) =>
    makeAction(name, {}, { tokens: Array(count).fill('A'.repeat(22)) })
  // 1.25 MB each, and one of 5 MB.
  const sizes = [50_000, 50_000, 50_000, 50_000, 200_000, 50_000]
  await Promise.all(sizes.map((count, n) => log.commit(withTokens(`r-${n}`, count))))
  const { rows } = await admin.query(
    'SELECT array_agg(sequence::int ORDER BY sequence) AS group FROM pii_vault.audit_log GROUP BY xmin::text ORDER BY 1',
  )
  t.strictSame(
    rows.map(row => row.group),
    [[0, 1, 2], [3], [4], [5]],
  )
})

t.test('an action that the database could not store is refused alone, and its event is made once', async t => {
  const { newLog, requestIds } = await startAudit(t)
  const log = newLog()
  let asked = 0
  const counted = makeAction('good')
  const admitted: AuditEvent = {
    ...counted.events.admitted,
    get requestId() {
      asked += 1
      return 'good'
    },
  }
  const outcomes = await Promise.allSettled([
    log.commit(makeAction('first')),
    log.commit(makeAction('nul', { principal: principalNamed('nul \0') })),
    log.commit({ ...counted, events: { ...counted.events, admitted } }),
    log.commit(makeAction('lone', { principal: principalNamed('lone \ud800') })),
    log.commit({
      ...makeAction('failing'),
      events: {
        ...counted.events,
        get admitted(): AuditEvent {
          throw new Error('no event')
        },
      },
    }),
  ])
  t.match(outcomes, [
    { value: { sequence: 0 } },
    { reason: { code: 'store_refused' } },
    { value: { sequence: 1 } },
    { reason: { code: 'store_refused' } },
    { reason: { message: 'no event' } },
  ])
  t.equal(asked, 1)
  t.strictSame(await requestIds(), ['first', 'good'])
})

t.test('nobody is told of a commit whose answer was lost, and its connection is not used again', async t => {
  const { urlFor, requestIds } = await startAudit(t)
  const proxy = await startDatabaseProxy(t, urlFor('tokenvault_api'))
  const database = createDatabase({ url: proxy.url, poolMax: 1, applicationName: 't' })
  t.teardown(() => database.destroy())
  const log = createActionLog(database)
  const lift = { kind: 'lift_suspension', issuer: 'i', subject: 's' } as const
  await log.commit(makeAction('before'))
  proxy.cutAnswerTo('commit')
  await t.rejects(log.commit(makeAction('unknown', { change: lift })), { code: 'store_unavailable' })
  t.match(await log.commit(makeAction('after')), { admission: { allowed: true } })
  t.equal(proxy.connections(), 2)
  t.strictSame((await requestIds()).at(-1), 'after')
})
