import t from 'tap'
import { foldSubtreeRoots, leafHash, treeHead } from '../helpers/evidence/merkle-tree.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { runActionProcesses } from '../helpers/vault/action-process.ts'

/** `npm run test:evidence` starts 16 processes with 1,000 appends each. */
const [processes, appendsEach] = process.env['EVIDENCE'] === 'long' ? [16, 1000] : [4, 150]

t.test(`${processes} processes with ${appendsEach} actions each: one tree without a gap, and one budget`, async t => {
  const vault = await createVaultDatabase(t)
  const url = vault.urlFor('tokenvault_api')
  // The stolen credential is one principal, and each process asks for all of its day in actions of three values.
  const charge = { values: 3, perMinute: Number.MAX_SAFE_INTEGER, perDay: appendsEach * 3 + 2 }
  const start = performance.now()
  const reports = await runActionProcesses(
    t,
    Array.from({ length: processes }, (_, n) => ({ url, name: `p${n}`, actions: appendsEach, callers: n + 1, charge })),
  )
  t.comment(`${Math.round(performance.now() - start)} ms, starting the processes included`)
  const refused = reports.reduce((sum, report) => sum + report.refused, 0)
  t.equal(processes * appendsEach - refused, appendsEach, 'all processes together get exactly the budget')
  const counted = reports.reduce((sum, report) => sum + report.counted, 0)
  const admin = await vault.connect()
  const { rows: counts } = await admin.query('SELECT kind, counted::int FROM pii_vault.refusals')
  t.strictSame(counts, [{ kind: 'detokenize refused principal_suspended', counted }], 'repeated refusals are counted')
  const { rows } = await admin.query<{ sequence: number; event: Buffer; leaf_hash: Buffer }>(
    'SELECT sequence::int, event, leaf_hash FROM pii_vault.audit_log ORDER BY sequence',
  )
  const size = processes * (appendsEach + 1) - counted
  t.ok(rows.length === size && rows.every(({ sequence }, n) => sequence === n), `sequences 0 to ${size - 1}, each once`)
  t.ok(rows.every(({ event, leaf_hash }) => leafHash(event).equals(leaf_hash)))
  const codes = rows.flatMap(({ event }) => JSON.parse(event.toString()).code ?? [])
  t.strictSame(codes.length, refused - counted, 'every refusal is on record')
  t.strictSame(codes, ['budget_exceeded', 'principal_suspended'])

  const committed = reports.flatMap(report => report.committed)
  const events = new Set(committed.map(([, requestId]) => requestId)).size
  t.equal(events, processes * appendsEach - counted, 'no event is lost')
  const wrong = committed.filter(([sequence, requestId, hash]) => {
    const row = rows[sequence]!
    return JSON.parse(row.event.toString()).requestId !== requestId || row.leaf_hash.toString('hex') !== hash
  })
  t.strictSame(wrong, [], 'every caller was told the place and the leaf hash of its own event')

  const { rows: heads } = await admin.query('SELECT tree_size::int AS size, frontier FROM pii_vault.audit_head')
  t.equal(heads[0].size, size)
  t.same(foldSubtreeRoots(heads[0].frontier), treeHead(rows.map(({ event }) => event)))

  const { rows: subtrees } = await admin.query(
    'SELECT level, index::int, root FROM pii_vault.audit_subtrees ORDER BY level, index',
  )
  const expected = Array.from({ length: Math.floor(size / 256) }, (_, index) => {
    return { level: 8, index, root: treeHead(rows.slice(index * 256, (index + 1) * 256).map(({ event }) => event)) }
  })
  t.same(subtrees, expected, 'and the root of every full subtree of 256 is kept')
})
