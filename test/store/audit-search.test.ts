import t, { type Test } from 'tap'
import { createActionLog } from '../../src/store/action-log.ts'
import { createAuditReader } from '../../src/store/audit-reader.ts'
import { createAuditSearch } from '../../src/store/audit-search.ts'
import { until } from '../helpers/faults/plan.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { commitEvent, makeAction } from '../helpers/vault/actions.ts'

const digestOf = (n: number) => `token-${n}`.padEnd(22, '_')

async function startSearch(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const log = createActionLog(vault.database('tokenvault_api', 1))
  const search = createAuditSearch(vault.database('tokenvault_api', 2))
  const reader = createAuditReader(vault.database('tokenvault_auditor', 1))
  const name = (...numbers: number[]) => commitEvent(log, makeAction('r', {}, { tokens: numbers.map(digestOf) }))
  const find = async (numbers: readonly number[], options: { before?: number; limit?: number } = {}) => {
    const events = await search.findEvents(numbers.map(digestOf), { limit: 100, ...options })
    return events.map(({ sequence }) => sequence)
  }
  const compare = () => reader.snapshot(view => view.compareSearchIndex())
  return { ...vault, admin, log, search, name, find, compare, reader }
}

t.test('who ever saw a token is one question, answered newest first', async t => {
  const { name, find, search, reader } = await startSearch(t)
  await name(1, 2)
  await name(2)
  await name(3)
  t.strictSame(await find([2]), [1, 0])
  await name(2, 3, 3)
  t.strictSame(await find([2]), [3, 1, 0], 'also what came after the last search')
  t.strictSame(await find([1, 3]), [3, 2, 0], 'each event once, whichever it names')
  t.strictSame(await find([2], { limit: 2 }), [3, 1])
  t.strictSame(await find([2], { limit: 2, before: 1 }), [0])
  t.strictSame(await find([4]), [])
  t.strictSame(await find([]), [])
  t.same(await search.findEvents([digestOf(1)], { limit: 1 }), [await reader.readEvent(0)])
})

t.test('a log of more events than are indexed at once is indexed whole', async t => {
  const { admin, find, compare, search } = await startSearch(t)
  await admin.query(`SELECT pii_vault.append_audit(array_agg(convert_to(
    format('{"tokens": ["%s", "%s"]}', rpad('token-' || n % 7, 22, '_'), rpad('token-' || 100 + n, 22, '_')), 'UTF8') ORDER BY n))
    FROM generate_series(0, 3499) AS n`)
  t.strictSame(await find([3], { limit: 2 }), [3496, 3489])
  t.strictSame(await find([3599, 100]), [3499, 0])
  t.strictSame(await compare(), { missing: 0, surplus: 0 })
  await search.indexEvents()
})

t.test('indexing that is stopped ends with the step under way', async t => {
  const { admin, search, connect } = await startSearch(t)
  await admin.query(`SELECT pii_vault.append_audit(array_fill('{}'::bytea, ARRAY[3500]))`)
  const indexed = async () =>
    (await admin.query('SELECT next_sequence::int AS next FROM pii_vault.audit_tokens_head')).rows[0].next
  await search.indexEvents(AbortSignal.abort())
  t.equal(await indexed(), 0)
  const gate = await connect()
  await gate.query('BEGIN; SELECT 1 FROM pii_vault.audit_tokens_head FOR UPDATE')
  const stopping = new AbortController()
  const indexing = search.indexEvents(stopping.signal)
  await until('a step waits at the gate', async () => {
    const { rows } = await admin.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%index_audit%'`,
    )
    return rows.length > 0
  })
  stopping.abort()
  await gate.query('COMMIT')
  await indexing
  t.equal(await indexed(), 1000)
})

t.test('searches at once, while actions are committed, leave the index right', async t => {
  const { name, find, compare } = await startSearch(t)
  await Promise.all(
    Array.from({ length: 60 }, async (_, n) => {
      const { sequence } = await name(n % 5, 100 + n)
      t.strictSame(await find([100 + n]), [sequence], 'an action that was committed is found')
    }),
  )
  t.equal((await find([2])).length, 12)
  t.strictSame(await compare(), { missing: 0, surplus: 0 })
})

t.test('an event of another shape hides no other', async t => {
  const { admin, name, find, compare } = await startSearch(t)
  const odd = [
    '',
    'no json',
    'null',
    '{"tokens": "text"}',
    '{"tokens": null}',
    `{"tokens": [1, null, {}, [], "short", "${'x'.repeat(3000)}"]}`,
    '{"tokens": ["nul \\u0000"]}',
    '['.repeat(10_000),
  ]
  await admin.query('SELECT pii_vault.append_audit($1)', [odd.map(text => Buffer.from(text))])
  // No text at all: the function takes none, so only its owner can store it.
  await admin.query(`INSERT INTO pii_vault.audit_log VALUES (8, '\\xff', sha256('\\x00ff'));
    UPDATE pii_vault.audit_head SET tree_size = 9`)
  const { sequence } = await name(1)
  t.equal(sequence, 9)
  t.strictSame(await find([1]), [9])
  t.strictSame(await compare(), { missing: 0, surplus: 0 })
})

t.test('an index that was tampered with is found out, and an index that is behind is not', async t => {
  const { admin, name, find, compare } = await startSearch(t)
  await name(1, 2)
  await name(2)
  t.strictSame(await find([2]), [1, 0])
  await name(2)
  t.strictSame(await compare(), { missing: 0, surplus: 0 })
  await admin.query(`DELETE FROM pii_vault.audit_tokens WHERE sequence = 0`)
  t.strictSame(await compare(), { missing: 2, surplus: 0 })
  await admin.query(
    `INSERT INTO pii_vault.audit_tokens VALUES ('${digestOf(2)}', 0), ('${digestOf(9)}', 0), ('${digestOf(2)}', 2)`,
  )
  t.strictSame(await compare(), { missing: 1, surplus: 2 })
})

t.test('a search of a log whose tail was cut ends', async t => {
  const { admin, name, find } = await startSearch(t)
  await name(1)
  await name(1)
  await admin.query(
    'ALTER TABLE pii_vault.audit_log DISABLE TRIGGER ALL; DELETE FROM pii_vault.audit_log WHERE sequence = 1',
  )
  t.strictSame(await find([1]), [0])
})
