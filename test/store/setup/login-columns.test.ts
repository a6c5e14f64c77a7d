import t from 'tap'
import { createIngestStore } from '../../../src/store/ingest.ts'
import { checkLoginColumns } from '../../../src/store/setup/login-columns.ts'
import { createFieldSchema, loginFields } from '../../../src/vault/fields/fields.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

t.test('columns of user_logins', async t => {
  const vault = await createVaultDatabase(t)
  const worker = vault.database('tokenvault_worker', 1)
  const owner = await vault.connect()
  const withEmail = createFieldSchema([
    ...loginFields.values(),
    { name: 'email', rule: 'email.v1', column: 'masked_email' },
  ])

  await t.resolves(checkLoginColumns(worker, loginFields), 'a migrated database has those of the default fields')

  await t.rejects(checkLoginColumns(worker, withEmail), {
    code: 'config_invalid',
    message:
      'column masked_email of user_logins, for field email, is missing; ' +
      "as the table's owner: ALTER TABLE public.user_logins ADD COLUMN masked_email varchar(256)",
  })

  await owner.query('ALTER TABLE public.user_logins ADD COLUMN masked_email varchar(255), ADD COLUMN masked_n integer')
  const withNumber = createFieldSchema([
    ...withEmail.values(),
    { name: 'n', rule: 'text.v1', column: 'masked_n' },
    { name: 'm', rule: 'text.v1', column: 'masked_m' },
  ])
  await t.rejects(checkLoginColumns(worker, withNumber), {
    message:
      /^3 problems:\n {2}column masked_email .* is of type character varying\(255\); .*\n {2}column masked_n .* is of type integer; .*ALTER COLUMN masked_n TYPE varchar\(256\)\n {2}column masked_m .* is missing/,
  })

  await owner.query('ALTER TABLE public.user_logins ALTER COLUMN masked_email TYPE varchar(256)')
  await t.resolves(checkLoginColumns(worker, withEmail), 'the SQL that it names mends it')
  for (const type of ['varchar', 'text', 'varchar(300)']) {
    await owner.query(`ALTER TABLE public.user_logins ALTER COLUMN masked_email TYPE ${type}`)
    await t.resolves(checkLoginColumns(worker, withEmail), type)
  }

  t.test('a column that was added takes rows, in months that are there and in new ones', async t => {
    const one = createFieldSchema([{ name: 'ip', rule: 'ip.v1', column: 'masked_email' }])
    const store = createIngestStore(worker, one)
    const createDate = new Date().toISOString().slice(0, 10)
    const tokens = vault.tokenizer.tokenizeValues('ip', ['203.0.113.7']).flatMap(one => ('token' in one ? [one] : []))
    const row = { userId: 'u', deviceType: 'ios', locale: null, appVersion: 1, createDate, tokens }
    await store.storeMessages([{ messageId: 'm-1', sentOn: createDate, rows: [row], quarantined: [] }])
    const { rows } = await owner.query('SELECT masked_email, masked_ip FROM user_logins')
    t.same(rows, [{ masked_email: tokens[0]!.token, masked_ip: null }])
  })
})
