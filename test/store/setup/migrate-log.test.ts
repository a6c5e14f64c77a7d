import { cpSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type pg from 'pg'
import t, { type Test } from 'tap'
import { migrate } from '../../../src/store/setup/migrate.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { foldSubtreeRoots, leafHash, treeHead } from '../../helpers/evidence/merkle-tree.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { connectTo, openDatabase } from '../../helpers/postgres/vault-database.ts'

/** A statement that appends so many small events. */
const append = (count: number) =>
  `SELECT pii_vault.append_audit(array_agg(convert_to(format('{"n": %s}', n), 'UTF8') ORDER BY n))
   FROM generate_series(1, ${count}) AS n`

/** A database as the version before the subtrees leaves it. */
async function startBefore(t: Test) {
  const { adminUrl } = await createTestDatabase(t)
  const before = join(temporaryDirectory(t), 'migrations')
  const all = new URL('../../../migrations/', import.meta.url)
  for (const file of readdirSync(all).filter(name => name < '0008')) cpSync(new URL(file, all), join(before, file))
  await migrate(openDatabase(t, adminUrl, 1), pathToFileURL(`${before}/`))
  const admin = await connectTo(t, adminUrl)
  const hasWaiting = async (query: string) => {
    const { rowCount } = await admin.query(
      `SELECT FROM pg_stat_activity
       WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE $1`,
      [query],
    )
    return rowCount! > 0
  }
  return { adminUrl, admin, connect: () => connectTo(t, adminUrl), hasWaiting }
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
  const { rows: subtrees } = await admin.query(
    'SELECT level, index::int, root FROM pii_vault.audit_subtrees ORDER BY level, index',
  )
  const expected = Array.from({ length: Math.floor(size / 256) }, (_, index) => {
    return { level: 8, index, root: treeHead(rows.slice(index * 256, (index + 1) * 256).map(({ event }) => event)) }
  })
  t.same(subtrees, expected, `${subtrees.length} of ${expected.length} subtrees`)
}

t.test('what is being appended while the subtrees come is in them, or is refused', async t => {
  const { adminUrl, admin, connect, hasWaiting } = await startBefore(t)
  const [underWay, practised, fresh] = await Promise.all([connect(), connect(), connect()])
  await practised.query(append(100))
  await underWay.query(`BEGIN; ${append(300)}`)

  let isMigrated = false
  const migrating = migrate(openDatabase(t, adminUrl, 1)).then(() => {
    isMigrated = true
  })
  while (!isMigrated && !(await hasWaiting('%pii_vault.audit_head%'))) await setTimeout(10)
  // These hold the function of before, and wait for the head.
  const late = [practised, fresh].map(client => {
    return client.query(append(256)).then(
      () => 'appended',
      error => error.code,
    )
  })
  await setTimeout(200)
  await underWay.query('COMMIT')
  await migrating
  t.strictSame(await Promise.all(late), ['42703', '42703'])
  await checkTree(t, admin, 400)
  await Promise.all([practised, fresh].map(client => client.query(append(256))))
  await checkTree(t, admin, 912)
})

t.test('however many append while the subtrees come, the log stays whole', async t => {
  const { adminUrl, admin, connect } = await startBefore(t)
  let isMigrated = false
  let size = 0
  let sizeAfter = 0
  const appending = Array.from({ length: 4 }, async () => {
    const client = await connect()
    while (sizeAfter < 1000) {
      try {
        await client.query(append(37))
        size += 37
        if (isMigrated) sizeAfter += 37
      } catch (error) {
        t.match(error, { code: '42703' })
      }
    }
  })
  await setTimeout(200)
  await migrate(openDatabase(t, adminUrl, 1))
  isMigrated = true
  await Promise.all(appending)
  await checkTree(t, admin, size)
})

t.test('a default isolation level that somebody set does not blind the migration', async t => {
  const { adminUrl, admin, connect, hasWaiting } = await startBefore(t)
  await admin.query(`DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END $$`)
  const underWay = await connect()
  await underWay.query(`BEGIN; ${append(300)}`)
  let isMigrated = false
  const migrating = migrate(openDatabase(t, adminUrl, 1)).then(() => {
    isMigrated = true
  })
  while (!isMigrated && !(await hasWaiting('%pii_vault.audit_head%'))) await setTimeout(10)
  await underWay.query('COMMIT')
  await migrating
  await checkTree(t, admin, 300)
})
