import { once } from 'node:events'
import t from 'tap'
import { migrate } from '../../../src/store/setup/migrate.ts'
import { loginRoles } from '../../../src/store/setup/role-passwords.ts'
import { connectTo, createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

t.test('no role can take every connection, and each session of a role begins with its limits', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const { rows } = await admin.query(
    `SELECT rolname, rolconnlimit AS most, current_setting('max_connections')::int AS all FROM pg_roles
     WHERE rolname = ANY ($1)`,
    [loginRoles],
  )
  t.equal(rows.length, loginRoles.length)
  const most = new Map(rows.map(row => [row.rolname, row.most]))
  const all = rows[0].all
  for (const [role, limit] of most) t.ok(limit > 1 && limit < all * 0.7, role)
  t.ok(most.get('tokenvault_analyst') + most.get('tokenvault_auditor') < all * 0.35)

  const settings = [
    'statement_timeout',
    'idle_in_transaction_session_timeout',
    'temp_file_limit',
    'lock_timeout',
    'idle_session_timeout',
  ]
  const expected = {
    tokenvault_api: ['5min', '1min', '1GB', '0', '0'],
    tokenvault_worker: ['5min', '1min', '1GB', '0', '0'],
    tokenvault_store: ['5min', '1min', '1GB', '0', '0'],
    tokenvault_privacy: ['5min', '1min', '1GB', '0', '0'],
    tokenvault_analyst: ['15min', '5min', '5GB', '30s', '1h'],
    tokenvault_auditor: ['15min', '5min', '50GB', '30s', '1h'],
  }
  for (const role of loginRoles) {
    const client = await vault.connect(role)
    const found = await Promise.all(settings.map(async name => (await client.query(`SHOW ${name}`)).rows[0][name]))
    t.strictSame(found, expected[role], role)
  }
})

t.test('what an operator set stays, whatever is migrated afterwards', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  await admin.query(`ALTER ROLE tokenvault_analyst IN DATABASE ${vault.name} SET statement_timeout = '7min'`)
  await admin.query(`ALTER ROLE tokenvault_auditor IN DATABASE ${vault.name} RESET lock_timeout`)
  await admin.query(`ALTER ROLE tokenvault_auditor IN DATABASE ${vault.name} RESET temp_file_limit;
    GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO PUBLIC`)
  const { findings, mended } = await migrate(vault.database())
  const told = findings.filter(({ code }) => code === 'role_unlimited')
  t.match(told, [
    { status: 'warn', says: /^tokenvault_auditor may fill the disk/ },
    { status: 'warn', says: /^pg_advisory_lock\(bigint\) may be called by everybody/ },
  ])
  t.equal(told.length, 2)
  t.strictSame(mended, [])
  const show = async (role: 'tokenvault_analyst' | 'tokenvault_auditor', name: string) =>
    (await (await vault.connect(role)).query(`SHOW ${name}`)).rows[0][name]
  t.equal(await show('tokenvault_analyst', 'statement_timeout'), '7min')
  t.equal(await show('tokenvault_auditor', 'lock_timeout'), '0')
})

t.test(
  'a session that holds the head of the log, or the turn of the partitions, and idles is ended by the server',
  async t => {
    const vault = await createVaultDatabase(t)
    const calls: [role: 'tokenvault_api' | 'tokenvault_worker', call: string][] = [
      ['tokenvault_api', `pii_vault.append_audit(ARRAY['{}'::bytea])`],
      ['tokenvault_api', `pii_vault.admit_actions('{"principals": [], "actions": []}')`],
      // Not plain, so nothing is committed; the head is locked all the same.
      [
        'tokenvault_api',
        `pii_vault.commit_plain_actions('{"principals": [{"issuer": "i", "subject": "s"}],
         "actions": [{"principal": 0, "change": {}}]}', ARRAY['{}'::bytea])`,
      ],
      ['tokenvault_api', `pii_vault.append_actions(ARRAY['{}'::bytea], '[null]')`],
      ['tokenvault_api', 'pii_vault.index_audit(1)'],
      ['tokenvault_worker', 'ingest.ensure_partitions(ARRAY[current_date])'],
      ['tokenvault_worker', 'ingest.drop_expired_delivery_records()'],
    ]
    const limits = `SELECT current_setting('idle_in_transaction_session_timeout') AS idle, current_setting('transaction_timeout') AS whole`
    for (const [role, call] of calls) {
      const client = await connectTo(t, vault.urlFor(role))
      await client.query('SET idle_in_transaction_session_timeout = 0; SET transaction_timeout = 0')
      await client.query('BEGIN')
      await client.query(`SELECT ${call}`)
      const { rows } = await client.query(limits)
      // admit_actions is followed by append_audit in the same transaction.
      t.strictSame(rows, [{ idle: '3s', whole: call.includes('admit_actions') ? '0' : '30s' }], call)
      await client.query('ROLLBACK')
      t.strictSame((await client.query(limits)).rows, [{ idle: '0', whole: '0' }], 'the session is as it was')
      await client.query(`SET idle_in_transaction_session_timeout = '1s'; BEGIN`)
      await client.query(`SELECT ${call}`)
      if (!call.includes('admit_actions'))
        t.match((await client.query(limits)).rows, [{ idle: '1s' }], 'a setting that is lower stays')
      await client.query('ROLLBACK')
    }

    const idler = await connectTo(t, vault.urlFor('tokenvault_api'))
    const ended = once(idler, 'error')
    await idler.query('SET idle_in_transaction_session_timeout = 0; BEGIN')
    await idler.query(`SELECT pii_vault.append_audit(ARRAY['{}'::bytea])`)
    // Waits for the head, and gets it once the idler is ended.
    const next = await vault.connect('tokenvault_api')
    t.match((await next.query(`SELECT pii_vault.append_audit(ARRAY['{}'::bytea]) AS first`)).rows, [{ first: '0' }])
    t.match(await ended, [{ code: '25P03' }])
  },
)
