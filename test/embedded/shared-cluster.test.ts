import pg from 'pg'
import t from 'tap'
import { createTestDatabase, testCluster } from '../helpers/postgres/embedded-postgres.ts'

t.test('every test process is given the same cluster, and every test its own database', async t => {
  const [first, second] = await Promise.all([createTestDatabase(t), createTestDatabase(t)])
  t.not(first.name, second.name)
  t.equal(await testCluster(), await testCluster())
  const client = new pg.Client({ connectionString: first.adminUrl })
  await client.connect()
  t.teardown(() => client.end())
  const { rows } =
    await client.query(`SELECT current_database() AS name, current_setting('server_encoding') AS encoding,
    current_setting('TimeZone') AS zone, current_setting('data_checksums') AS checksums`)
  t.strictSame(rows, [{ name: first.name, encoding: 'UTF8', zone: 'UTC', checksums: 'on' }])
})
