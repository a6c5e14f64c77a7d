import type pg from 'pg'
import t, { type Test } from 'tap'
import { subtreeLevels } from '../../src/tlog/merkle.ts'
import { foldSubtreeRoots, leafHash, treeHead } from '../helpers/evidence/merkle-tree.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'

/** A statement that appends the small events from ≤ n ≤ to. */
const append = (from: number, to: number) =>
  `SELECT pii_vault.append_audit(array_agg(convert_to(format('{"n": %s}', n), 'UTF8') ORDER BY n))
   FROM generate_series(${from}, ${to}) AS n`

async function readSubtrees(admin: pg.Client) {
  const { rows } = await admin.query(
    'SELECT level, index::float, root FROM pii_vault.audit_subtrees ORDER BY level, index',
  )
  return rows
}

/** The head, the leaf hashes and every kept subtree are those of the events that are stored. */
async function checkTree(t: Test, admin: pg.Client, size: number): Promise<void> {
  const { rows } = await admin.query<{ sequence: number; event: Buffer; leaf_hash: Buffer }>(
    'SELECT sequence::int, event, leaf_hash FROM pii_vault.audit_log ORDER BY sequence',
  )
  t.ok(rows.length === size && rows.every(({ sequence }, n) => sequence === n), `${rows.length} of ${size} events`)
  t.ok(rows.every(({ event, leaf_hash }) => leafHash(event).equals(leaf_hash)))
  const { rows: heads } = await admin.query('SELECT tree_size::int AS size, frontier FROM pii_vault.audit_head')
  t.equal(heads[0].size, size)
  t.same(foldSubtreeRoots(heads[0].frontier), treeHead(rows.map(({ event }) => event)))
  const subtrees = await readSubtrees(admin)
  const expected = Array.from({ length: Math.floor(size / 256) }, (_, index) => {
    return { level: 8, index, root: treeHead(rows.slice(index * 256, (index + 1) * 256).map(({ event }) => event)) }
  })
  t.same(subtrees, expected, `${subtrees.length} of ${expected.length} subtrees`)
}

async function countWaiting(admin: pg.Client): Promise<number> {
  const { rowCount } = await admin.query(
    `SELECT FROM pg_stat_activity
     WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE '%append_audit%'`,
  )
  return rowCount!
}

for (const [outcome, size] of [
  ['COMMIT', 300 + 2 * 256],
  ['ROLLBACK', 2 * 256],
] as const)
  t.test(`appends that wait for another go on from what its ${outcome} leaves`, async t => {
    const { connect } = await createVaultDatabase(t)
    const [admin, underWay, ...late] = await Promise.all([connect(), connect(), connect(), connect()])
    await underWay.query(`BEGIN; ${append(1, 300)}`)
    const appending = late.map(client => client.query(append(301, 556)))
    while ((await countWaiting(admin)) < late.length);
    await underWay.query(outcome)
    await Promise.all(appending)
    await checkTree(t, admin, size)
  })

t.test('however many append at once, the log stays whole', async t => {
  const { connect } = await createVaultDatabase(t)
  const clients = await Promise.all([connect(), connect(), connect(), connect()])
  await Promise.all(
    clients.map(async client => {
      for (let n = 0; n < 40; n++) await client.query(append(1, 37))
    }),
  )
  await checkTree(t, clients[0], 4 * 40 * 37)
})

t.test('in whatever groups events are appended, the same subtrees are kept, of every level', async t => {
  const kept = await Promise.all(
    [[66_236], [1, 255, 300, 65_535, 65_536, 66_236]].map(async ends => {
      const admin = await (await createVaultDatabase(t)).connect()
      for (const [n, end] of ends.entries()) await admin.query(append((ends[n - 1] ?? 0) + 1, end))
      return readSubtrees(admin)
    }),
  )
  t.equal(kept[0]!.length, 258 + 1)
  t.same(kept[0], kept[1])
})

t.test('subtrees are kept of the levels that proofs are made of, and a larger tree grows on', async t => {
  const admin = await (await createVaultDatabase(t)).connect()
  // Nobody appends 2^40 events: the head of a tree that lacks one of them.
  await admin.query(`UPDATE pii_vault.audit_head
    SET tree_size = 2::numeric ^ 40 - 1, frontier = (SELECT array_agg(sha256('\\x00')) FROM generate_series(1, 40))`)
  await admin.query(append(1, 1))
  const kept = await readSubtrees(admin)
  t.strictSame(
    kept.map(({ level, index }) => [level, index]),
    subtreeLevels.map(level => [level, 2 ** (40 - level) - 1]),
  )
})
