import t, { type Test } from 'tap'
import { createAuditLog } from '../../src/store/audit-log.ts'
import type { AuditEvent } from '../../src/vault/ports.ts'
import { foldSubtreeRoots, leafHash, treeHead } from '../helpers/merkle-tree.ts'
import { createVaultDatabase } from '../helpers/vault-database.ts'

function auditEvent(requestId: string, changes: Partial<AuditEvent> = {}): AuditEvent {
  return {
    type: 'detokenize',
    at: '2026-01-02T03:04:05.678Z',
    requestId,
    issuer: 'https://issuer.test',
    subject: 'casey',
    roles: ['investigator'],
    purpose: 'fraud_investigation',
    decision: 'permitted',
    requested: 2,
    granted: 1,
    tokens: ['AAAAAAAAAAAAAAAAAAAAAA'],
    withheld: { token_unknown: 1 },
    ...changes,
  }
}

async function startAudit(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const newLog = () => createAuditLog(vault.database('tokenvault_api', 1))
  const stored = async () => {
    const { rows } = await admin.query(
      'SELECT sequence::int, event, leaf_hash FROM pii_vault.audit_log ORDER BY sequence',
    )
    return rows as { sequence: number; event: Buffer; leaf_hash: Buffer }[]
  }
  const requestIds = async () => (await stored()).map(({ event }) => JSON.parse(event.toString()).requestId)
  const head = async () => {
    const { rows } = await admin.query('SELECT tree_size::int AS size, subtree_roots FROM pii_vault.audit_head')
    return rows[0] as { size: number; subtree_roots: Buffer[] }
  }
  return { ...vault, admin, newLog, stored, requestIds, head }
}

t.test('16 appenders of several processes get every sequence once, each for its own event', async t => {
  const { newLog, stored, head } = await startAudit(t)
  const logs = [newLog(), newLog(), newLog(), newLog()]
  const appended = await Promise.all(
    Array.from({ length: 16 }, async (_, appender) => {
      const receipts: [number, string][] = []
      for (let n = 0; n < 10; n++) {
        const { sequence } = await logs[appender % logs.length]!.append(auditEvent(`${appender}-${n}`))
        receipts.push([sequence, `${appender}-${n}`])
      }
      return receipts
    }),
  )
  const rows = await stored()
  t.strictSame(
    rows.map(({ sequence }) => sequence),
    Array.from({ length: 160 }, (_, n) => n),
  )
  t.strictSame(
    rows.map(({ sequence, event }) => [sequence, JSON.parse(event.toString()).requestId]),
    appended.flat().sort(([a], [b]) => a - b),
  )
  const { size, subtree_roots } = await head()
  t.equal(size, 160)
  t.same(foldSubtreeRoots(subtree_roots), treeHead(rows.map(({ event }) => event)))
})

t.test('events that wait together are stored in the order they came, also more than one commit takes', async t => {
  const { newLog, requestIds } = await startAudit(t)
  const log = newLog()
  const names = Array.from({ length: 1200 }, (_, n) => `r-${n}`)
  const receipts = await Promise.all(names.map(name => log.append(auditEvent(name))))
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
  t.same(foldSubtreeRoots((await head()).subtree_roots), treeHead([]))
  for (let group = 1; entries.length < 70; group = (group % 4) + 1) {
    const events = Array.from({ length: group }, (_, n) => Buffer.from(JSON.stringify({ n: entries.length + n })))
    await api.query('SELECT pii_vault.append_audit($1)', [events])
    for (const event of events) entries.push(event)
    const { size, subtree_roots } = await head()
    t.equal(size, entries.length)
    t.same(foldSubtreeRoots(subtree_roots), treeHead(entries), `of ${size} events`)
  }
  // Sizes that a group passed over.
  const one = await startAudit(t)
  const single = await one.connect('tokenvault_api')
  for (const [index, event] of entries.entries()) {
    await single.query('SELECT pii_vault.append_audit($1)', [[event]])
    const { subtree_roots } = await one.head()
    t.same(foldSubtreeRoots(subtree_roots), treeHead(entries.slice(0, index + 1)))
  }
  for (const { event, leaf_hash } of await stored()) t.same(leaf_hash, leafHash(event))
})

t.test('what is stored is exactly what was given, and an append without events adds none', async t => {
  const { connect, newLog, stored, head } = await startAudit(t)
  const event = auditEvent('r-1', { subject: 'Ærøskøbing "quoted" \\ 🔑' })
  await newLog().append(event)
  t.equal((await stored())[0]!.event.toString(), JSON.stringify(event))
  const api = await connect('tokenvault_api')
  t.match((await api.query(`SELECT pii_vault.append_audit('{}') AS first`)).rows, [{ first: '1' }])
  for (const events of ['NULL', 'ARRAY[NULL]::bytea[]', `ARRAY['\\xff'::bytea]`, `ARRAY['\\x7b007d'::bytea]`]) {
    await t.rejects(api.query(`SELECT pii_vault.append_audit(${events})`), { code: /^2/ }, events)
  }
  t.equal((await head()).size, 1)
})

t.test('nobody rewrites the log by mistake, not its owner and not the superuser', async t => {
  const { admin, newLog, stored } = await startAudit(t)
  await newLog().append(auditEvent('r-1'))
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
  await log.append(auditEvent('r-1'))
  await log.append(auditEvent('r-2', { decision: 'refused', code: 'role_not_permitted', granted: 0, tokens: [] }))
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
  }
  const refused = { decision: 'refused', code: 'role_not_permitted', granted: 0, tokens: [] }
  t.strictSame(rows, [first, { ...first, ...refused, sequence: '1', request_id: 'r-2' }])
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
  await newLog().append(auditEvent('after'))
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
  const first = log.append(auditEvent('first'))
  let isWaiting = false
  while (!isWaiting) {
    const { rowCount } = await admin.query(`SELECT FROM pg_stat_activity
      WHERE usename = 'tokenvault_api' AND wait_event_type = 'Lock' AND datname = current_database()`)
    isWaiting = rowCount === 1
  }
  // These wait for the commit under way, and share the next.
  const denied = { code: 'store_unavailable', message: /SQLSTATE 42501$/ }
  const second = t.rejects(log.append(auditEvent('second')), denied)
  const third = t.rejects(log.append(auditEvent('third')), denied)
  await admin.query('REVOKE EXECUTE ON FUNCTION pii_vault.append_audit FROM tokenvault_api')
  await blocker.query('ROLLBACK')
  t.strictSame(await first, { sequence: 0 })
  await Promise.all([second, third])
  await t.rejects(log.append(auditEvent('fourth')), denied)
  await admin.query('GRANT EXECUTE ON FUNCTION pii_vault.append_audit TO tokenvault_api')
  t.strictSame(await log.append(auditEvent('fifth')), { sequence: 1 })
  t.strictSame(await requestIds(), ['first', 'fifth'])
})
