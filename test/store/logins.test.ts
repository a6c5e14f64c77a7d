import t from 'tap'
import { createIngestStore } from '../../src/store/ingest.ts'
import { readLogins } from '../../src/store/logins.ts'
import { loginFields } from '../../src/vault/fields/fields.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { loginRow, messageOf } from '../helpers/queue/tokenized-messages.ts'

t.test('an analyst reads rows in the order of columns that was promised, days as they are written', async t => {
  const vault = await createVaultDatabase(t)
  const row = loginRow(vault.tokenizer, 3)
  const store = createIngestStore(vault.database('tokenvault_worker'), loginFields)
  await store.storeMessages([messageOf('m-1', row), messageOf('m-2', row)])
  const analyst = vault.database('tokenvault_analyst')
  t.equal((await readLogins(analyst, 1)).length, 1)
  const rows = await readLogins(analyst, 10)
  const expected = {
    user_id: 'user-3',
    device_type: 'android',
    masked_ip: row.tokens[0]!.token,
    masked_device_id: row.tokens[1]!.token,
    locale: null,
    app_version: 2,
    create_date: row.createDate,
  }
  t.strictSame(rows, [expected, expected])
  t.strictSame(Object.keys(rows[0]!), Object.keys(expected))
  await t.rejects(readLogins(vault.database('tokenvault_api'), 1), { code: 'store_unavailable' })
})
