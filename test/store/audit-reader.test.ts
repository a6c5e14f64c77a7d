import t, { type Test } from 'tap'
import { createActionLog } from '../../src/store/action-log.ts'
import { createAuditReader, createCheckpointStore } from '../../src/store/audit-reader.ts'
import type { AuditView, StoredEvent } from '../../src/vault/evidence/ports.ts'
import { leafHash, treeHead } from '../helpers/evidence/merkle-tree.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { makeAction } from '../helpers/vault/actions.ts'

/** A statement that appends so many small events. */
const append = (count: number) =>
  `SELECT pii_vault.append_audit(array_agg(convert_to(format('{"n": %s}', n), 'UTF8') ORDER BY n))
   FROM generate_series(1, ${count}) AS n`

async function startReader(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const api = vault.database('tokenvault_api', 2)
  return {
    ...vault,
    admin,
    api,
    log: createActionLog(api),
    reader: createAuditReader(vault.database('tokenvault_auditor', 2)),
  }
}

async function pagesOf(view: AuditView): Promise<(readonly StoredEvent[])[]> {
  const pages: (readonly StoredEvent[])[] = []
  for await (const page of view.readEvents()) pages.push(page)
  return pages
}

t.test('a snapshot shows one state of the log, however it grows meanwhile', async t => {
  const { log, reader, admin } = await startReader(t)
  await admin.query(append(4999))
  await log.commit(makeAction('last'))
  const { head, pages } = await reader.snapshot(async view => {
    const head = await view.readHead()
    await log.commit(makeAction('later'))
    return { head, pages: await pagesOf(view) }
  })
  t.equal(head.treeSize, 5000)
  t.ok(pages.every(page => page.length <= 2000))
  const events = pages.flat()
  t.ok(events.length === 5000 && events.every(({ sequence }, n) => sequence === n))
  t.same(events.at(-1), await reader.readEvent(4999))
  t.same(events.at(-1)!.leafHash, leafHash(events.at(-1)!.event))
  t.equal((await reader.readHead()).treeSize, 5001)
  t.match(JSON.parse(Buffer.from((await reader.readEvent(5000))!.event).toString()), { requestId: 'later' })
  t.equal(await reader.readEvent(5001), undefined)
})

t.test('a page is of about 4 MiB, whatever the size of its events', async t => {
  const { log, reader } = await startReader(t)
  const sizes = [1, 60_000, 60_000, 60_000, 250_000, 1, 1]
  for (const [n, count] of sizes.entries())
    await log.commit(makeAction(`r-${n}`, {}, { tokens: Array(count).fill('A'.repeat(22)) }))
  const pages = await reader.snapshot(pagesOf)
  t.strictSame(
    pages.map(page => page.map(({ sequence }) => sequence)),
    [[0, 1, 2], [3], [4], [5, 6]],
  )
})

t.test('what was stored past the log by its owner is read, too', async t => {
  const { log, reader, admin } = await startReader(t)
  await log.commit(makeAction('r-0'))
  await admin.query(`ALTER TABLE pii_vault.audit_log DROP CONSTRAINT audit_log_pkey;
    INSERT INTO pii_vault.audit_log SELECT n, event, leaf_hash FROM pii_vault.audit_log,
      unnest(ARRAY[-9223372036854775808, 0, 7, 9223372036854775807]) AS n;
    ALTER TABLE pii_vault.audit_head DISABLE TRIGGER ALL; DELETE FROM pii_vault.audit_head`)
  const { events, head } = await reader.snapshot(async view => {
    return { events: (await pagesOf(view)).flat(), head: await view.readHead() }
  })
  t.strictSame(
    events.map(({ sequence }) => sequence),
    [-(2 ** 63), 0, 0, 7, 2 ** 63],
  )
  t.strictSame(head, { treeSize: 0, subtreeRoots: [] })
})

t.test('a snapshot passes on what its work throws, and names what the database refuses', async t => {
  const { reader, admin } = await startReader(t)
  const failure = new Error('of the work')
  await t.rejects(
    reader.snapshot(async () => {
      throw failure
    }),
    failure,
  )
  await admin.query('REVOKE SELECT ON pii_vault.audit_log FROM tokenvault_auditor')
  const denied = { code: 'store_misconfigured', message: /SQLSTATE 42501$/ }
  await t.rejects(reader.snapshot(pagesOf), denied)
  await t.rejects(reader.readEvent(0), denied)
  t.equal(await reader.snapshot(async view => (await view.readHead()).treeSize), 0)
})

t.test('leaf hashes and full subtrees are read by half-open ranges', async t => {
  const { reader, admin } = await startReader(t)
  await admin.query(append(66_000))
  const leaves = await reader.readLeafHashes(0, 66_000)
  t.equal(leaves.length, 66_000)
  t.same(await reader.readLeafHashes(255, 258), leaves.slice(255, 258))
  t.same(await reader.readLeafHashes(65_999, 66_010), leaves.slice(65_999), 'what is not there is left out')
  const entries = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, n) => Buffer.from(`{"n": ${from + n + 1}}`))
  const blocks = await reader.readSubtrees(8, 0, 1000)
  t.equal(blocks.length, 257)
  t.same(blocks[3], treeHead(entries(768, 1024)))
  t.same(await reader.readSubtrees(8, 256, 257), [treeHead(entries(65_536, 65_792))])
  t.same(await reader.readSubtrees(16, 0, 10), [treeHead(entries(0, 65_536))])
  t.same(await reader.readSubtrees(24, 0, 10), [])
})

t.test('a checkpoint of a size is kept once, and never one of a size that the tree does not have', async t => {
  const { api, reader, admin } = await startReader(t)
  const store = createCheckpointStore(api)
  t.strictSame(await reader.listCheckpoints({ limit: 1 }), [])
  await admin.query(append(20))
  for (const treeSize of [0, 9, 20]) await store.insertCheckpoint({ treeSize, note: `of ${treeSize}` })
  await store.insertCheckpoint({ treeSize: 9, note: 'another' })
  await t.rejects(store.insertCheckpoint({ treeSize: 21, note: 'of 21' }), { code: 'store_refused' })
  await t.rejects(store.insertCheckpoint({ treeSize: -1, note: 'of none' }), { code: 'store_refused' })
  t.strictSame(await reader.listCheckpoints({ limit: 1 }), [{ treeSize: 20, note: 'of 20' }])
  t.strictSame(await reader.checkpointAt(9), { treeSize: 9, note: 'of 9' })
  t.equal(await reader.checkpointAt(10), undefined)
  t.strictSame(
    (await reader.snapshot(view => view.readCheckpoints())).map(({ treeSize }) => treeSize),
    [0, 9, 20],
  )
})

t.test('nobody changes a subtree or a checkpoint by mistake, not their owner and not the superuser', async t => {
  const { api, admin } = await startReader(t)
  await admin.query(append(256))
  await createCheckpointStore(api).insertCheckpoint({ treeSize: 256, note: 'n' })
  for (const role of ['tokenvault_owner', 'NONE']) {
    await admin.query(`SET ROLE ${role}`)
    for (const table of ['audit_subtrees', 'checkpoints']) {
      const refusal = { code: '42501', message: `${table} is append-only` }
      await t.rejects(admin.query(`DELETE FROM pii_vault.${table}`), refusal)
      await t.rejects(admin.query(`TRUNCATE pii_vault.${table}`), refusal)
      const column = table === 'checkpoints' ? 'note' : 'root'
      await t.rejects(admin.query(`UPDATE pii_vault.${table} SET ${column} = ${column}`), refusal)
    }
  }
})
