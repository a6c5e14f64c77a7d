import t from 'tap'
import { ensureDatabase } from '../../../src/store/setup/ensure-database.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { connectTo } from '../../helpers/postgres/vault-database.ts'

t.test(
  'a database that is missing is made, by any number of processes at once, and one that is there is kept',
  async t => {
    const { adminUrl, name } = await createTestDatabase(t)
    const made = `${name} "quoted" made`
    t.teardown(async () => {
      const client = await connectTo({ teardown: () => {} }, adminUrl)
      await client.query(`DROP DATABASE IF EXISTS "${made.replaceAll('"', '""')}" WITH (FORCE)`)
      await client.end()
    })
    const urls = await Promise.all(Array.from({ length: 5 }, () => ensureDatabase(adminUrl, made)))
    const client = await connectTo(t, urls[0]!)
    await client.query('CREATE TABLE kept ()')
    t.equal(await ensureDatabase(adminUrl, made), urls[0])
    const { rows } = await client.query(`SELECT current_database() AS name, 'kept'::regclass::text AS kept`)
    t.strictSame(rows, [{ name: made, kept: 'kept' }])
  },
)
