import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { createOriginalWriter, createStoringHealth } from '../../src/store/original-writer.ts'
import { createDatabase } from '../../src/store/postgres/database.ts'
import type { SealedOriginal } from '../../src/vault/tokens/ports.ts'
import { startDatabaseProxy } from '../helpers/postgres/database-proxy.ts'
import { createVaultDatabase, openDatabase, type VaultDatabase } from '../helpers/postgres/vault-database.ts'

function fresh(count = 1): SealedOriginal[] {
  return Array.from({ length: count }, () => ({
    tokenId: randomBytes(16).toString('hex'),
    field: 'ip',
    tokenKeyVersion: 1,
    dataKeyVersion: 1,
    sealed: randomBytes(60),
  }))
}

async function start(t: Test, url?: (vault: VaultDatabase) => Promise<string>) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const database = openDatabase(t, (await url?.(vault)) ?? vault.urlFor('tokenvault_store'), 4)
  const writer = createOriginalWriter(database, vault.database('tokenvault_api', 1))
  const count = async () => Number((await admin.query('SELECT count(*) FROM pii_vault.originals')).rows[0].count)
  return { vault, admin, database, writer, count }
}

t.test('originals are seen once they are committed, and never where they are abandoned', async t => {
  const { writer, count, admin } = await start(t)
  const originals = fresh(3)
  const inserted = await writer.insert([...originals, originals[0]!])
  t.equal(await count(), 0)
  await inserted.commit()
  t.equal(await count(), 3)
  await (await writer.insert(fresh(3))).abandon()
  t.equal(await count(), 3)
  const other = { ...originals[0]!, sealed: randomBytes(60) }
  await (await writer.insert([other])).commit()
  const { rows } = await admin.query('SELECT sealed FROM pii_vault.originals WHERE token_id = $1', [other.tokenId])
  t.strictSame(rows, [{ sealed: Buffer.from(originals[0]!.sealed) }], 'what is stored stays as it is')
})

t.test('two that insert the same tokens wait for each other and do not deadlock', async t => {
  const { writer, count } = await start(t)
  const originals = fresh(50)
  const first = await writer.insert(originals)
  let isThrough = false
  const second = writer.insert(originals.toReversed()).then(inserted => {
    isThrough = true
    return inserted
  })
  const apart = await writer.insert(fresh(1))
  await apart.commit()
  t.notOk(isThrough, 'one waits for what becomes of the other')
  await first.abandon()
  await (await second).commit()
  t.equal(await count(), 51)
})

t.test('whoever waits for a token too long, or for a connection, is told', async t => {
  const vault = await createVaultDatabase(t)
  const database = createDatabase({
    url: vault.urlFor('tokenvault_store'),
    ...{ poolMax: 2, applicationName: 'tokenvault test', statementTimeoutMilliseconds: 200 },
  })
  t.teardown(() => database.destroy())
  const writer = createOriginalWriter(database, vault.database('tokenvault_api', 1))
  const originals = fresh(1)
  const held = await writer.insert(originals)
  await t.rejects(writer.insert(originals), { code: 'store_unavailable', message: /57014/ })
  const another = await writer.insert(fresh(1))
  await t.rejects(writer.insert(fresh(1)), { code: 'store_unavailable' }, 'both connections are taken')
  await held.abandon()
  await another.abandon()
  await t.resolves(writer.insert(originals).then(inserted => inserted.commit()))
})

t.test('a commit whose answer is lost is not believed, and its connection serves nobody again', async t => {
  const { writer, count, proxy } = await startBehindProxy(t)
  const originals = fresh(2)
  const inserted = await writer.insert(originals)
  proxy().cutAnswerTo('commit')
  await t.rejects(inserted.commit(), { code: 'store_unavailable', message: /is not known/ })
  await (await writer.insert(originals)).commit()
  t.equal(await count(), 2, 'the repeat finds them or stores them')
})

t.test('a session that ended while its event was recorded stores nothing, and says so', async t => {
  const { writer, count, admin } = await start(t)
  const inserted = await writer.insert(fresh(2))
  await admin.query(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE usename = 'tokenvault_store' AND datname = current_database()`)
  await t.rejects(inserted.commit(), { code: 'store_unavailable' })
  t.equal(await count(), 0)
  const lost = await writer.insert(fresh(2))
  await admin.query(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE usename = 'tokenvault_store' AND datname = current_database()`)
  await t.resolves(lost.abandon(), 'whoever gives up is told nothing')
  await (await writer.insert(fresh(2))).commit()
  t.equal(await count(), 2)
})

t.test('another database is not stored in, and is told apart from the vault’s own', async t => {
  const { vault, database, writer, count, admin } = await start(t)
  const other = await createVaultDatabase(t)
  const elsewhere = other.database('tokenvault_api', 1)
  const refusal = { code: 'store_misconfigured', message: /STORE_DATABASE_URL leads to another database/ }
  await t.rejects(createOriginalWriter(database, elsewhere).insert(fresh(1)), refusal)
  await t.rejects(createStoringHealth(database, elsewhere).check(), refusal)
  t.equal(await count(), 0)
  // Where an administrator took that function from everybody, the database is known by what is left.
  await admin.query('REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC')
  await t.rejects(createOriginalWriter(database, elsewhere).insert(fresh(1)), refusal)
  await t.resolves(createStoringHealth(database, vault.database('tokenvault_api', 1)).check())
  await (await writer.insert(fresh(1))).commit()
  t.equal(await count(), 1)
})

t.test('healthy only while originals can be inserted', async t => {
  const { vault, admin, database } = await start(t)
  const health = createStoringHealth(database, vault.database('tokenvault_api', 1))
  await t.resolves(health.check())
  await admin.query('REVOKE INSERT ON pii_vault.originals FROM tokenvault_store')
  await t.rejects(health.check(), {
    code: 'store_misconfigured',
    message: 'missing, or not granted to the role: table pii_vault.originals',
  })
  await admin.query('GRANT INSERT ON pii_vault.originals TO tokenvault_store')
  await admin.query(`ALTER DATABASE ${vault.name} SET default_transaction_read_only = on`)
  const later = openDatabase(t, vault.urlFor('tokenvault_store'), 1)
  await t.rejects(createStoringHealth(later, vault.database('tokenvault_api', 1)).check(), {
    code: 'store_unavailable',
    message: /takes no writes/,
  })
})

async function startBehindProxy(t: Test) {
  let proxy: Awaited<ReturnType<typeof startDatabaseProxy>>
  const started = await start(t, async vault => {
    proxy = await startDatabaseProxy(t, vault.urlFor('tokenvault_store'))
    return proxy.url
  })
  return { ...started, proxy: () => proxy }
}
