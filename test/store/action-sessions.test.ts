import { setTimeout } from 'node:timers/promises'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { createActionLog } from '../../src/store/action-log.ts'
import { startDatabaseProxy } from '../helpers/postgres/database-proxy.ts'
import { createVaultDatabase, openDatabase } from '../helpers/postgres/vault-database.ts'
import { commitEvent, makeAction } from '../helpers/vault/actions.ts'

const charge = { values: 1, perMinute: 1000, perDay: 1000 }
const lift = makeAction('lift', { change: { kind: 'lift_suspension', issuer: 'i', subject: 's' } })

/** A vault whose API role has set its own defaults to what serves commits badly, as it may. */
async function startPoisoned(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const api = await vault.connect('tokenvault_api')
  for (const setting of ['synchronous_commit = off', 'default_transaction_isolation = serializable'])
    await api.query(`ALTER ROLE tokenvault_api IN DATABASE ${vault.name} SET ${setting}`)
  // What holds at the commit itself.
  await admin.query(`
    CREATE TABLE public.commits (sequence bigint, synchronous text, isolation text);
    CREATE FUNCTION public.note_commit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
      INSERT INTO public.commits
      VALUES (NEW.sequence, current_setting('synchronous_commit'), current_setting('transaction_isolation'));
      RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER note_commit AFTER INSERT ON pii_vault.audit_log DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION public.note_commit()`)
  return { ...vault, admin }
}

t.test('a commit is durable and read committed, whatever the role made its defaults', async t => {
  const { admin, database } = await startPoisoned(t)
  const api = database('tokenvault_api', 1)
  const { rows: defaults } = await sql`select current_setting('synchronous_commit') as synchronous,
    current_setting('transaction_isolation') as isolation`.execute(api)
  t.strictSame(defaults, [{ synchronous: 'off', isolation: 'serializable' }])
  const log = createActionLog(api)
  await log.commit(makeAction('plain', { charge }))
  await log.commit(lift)
  const { rows } = await admin.query('SELECT * FROM public.commits ORDER BY sequence')
  const good = { synchronous: 'on', isolation: 'read committed' }
  t.strictSame(rows, [
    { sequence: '0', ...good },
    { sequence: '1', ...good },
  ])
  const { rows: after } = await sql`select current_setting('synchronous_commit') as synchronous,
    current_setting('idle_in_transaction_session_timeout') as idle`.execute(api)
  t.strictSame(after, [{ synchronous: 'off', idle: '1min' }], 'for the transaction only')
})

t.test('every function that appends makes its transaction durable to its end', async t => {
  const { connect } = await startPoisoned(t)
  const api = await connect('tokenvault_api')
  const one = `ARRAY['{}'::bytea]`
  const request = `'{"principals": [{"issuer": "i", "subject": "s"}], "actions": [{"principal": 0}]}'`
  const statements = [
    `SELECT pii_vault.append_audit(${one})`,
    `SELECT pii_vault.commit_plain_actions(${request}, ${one})`,
    `SELECT pii_vault.admit_actions(${request}), pii_vault.append_audit(${one})`,
  ]
  for (const statement of statements) {
    await api.query('BEGIN ISOLATION LEVEL READ COMMITTED')
    await api.query(statement)
    const { rows } = await api.query('SHOW synchronous_commit')
    t.strictSame(rows, [{ synchronous_commit: 'on' }], statement)
    await api.query('COMMIT')
    t.strictSame((await api.query('SHOW synchronous_commit')).rows, [{ synchronous_commit: 'off' }])
    await api.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = remote_apply; ${statement}`)
    t.strictSame((await api.query('SHOW synchronous_commit')).rows, [{ synchronous_commit: 'remote_apply' }])
    await api.query('COMMIT')
  }
})

t.test('many commit at once where serializable is the default', async t => {
  const { admin, database } = await startPoisoned(t)
  const logs = Array.from({ length: 4 }, () => createActionLog(database('tokenvault_api', 1)))
  const actions = Array.from({ length: 200 }, (_, n) => (n % 10 === 0 ? lift : makeAction(`r-${n}`, { charge })))
  const outcomes = await Promise.allSettled(
    actions.map(async (action, n) => {
      await setTimeout(n % 20)
      return logs[n % 4]!.commit(action)
    }),
  )
  t.strictSame(
    outcomes.filter(({ status }) => status === 'rejected'),
    [],
  )
  const { rows } = await admin.query(`SELECT "values"::int FROM pii_vault.spending WHERE slot_seconds = 3600`)
  t.equal(
    rows.reduce((sum, row) => sum + row.values, 0),
    180,
  )
})

t.test('who stalls between admission and append stops the others for seconds only', async t => {
  const { database, urlFor, connect } = await createVaultDatabase(t)
  const proxy = await startDatabaseProxy(t, urlFor('tokenvault_api'))
  const stalled = openDatabase(t, proxy.url, 1)
  const admin = await connect()
  // The event of a refusal is serialized between the two, so that is where this process stalls as seen by the server.
  const stalling = createActionLog(stalled).commit({
    ...lift,
    events: {
      ...lift.events,
      get refused() {
        proxy.silence()
        return lift.events.refused
      },
    },
  })
  const outcome = t.rejects(stalling, { code: 'store_unavailable' })
  let isIdle = false
  while (!isIdle) {
    const { rowCount } = await admin.query(
      `SELECT FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()`,
    )
    isIdle = rowCount === 1
    if (!isIdle) await setTimeout(10)
  }
  const start = performance.now()
  const { sequence } = await commitEvent(
    createActionLog(database('tokenvault_api', 1)),
    makeAction('other', { charge }),
  )
  const waited = performance.now() - start
  t.equal(sequence, 0)
  t.ok(waited < 8_000, `${Math.round(waited)} ms`)
  // It hears nothing on its silent connection until its own patience ends.
  await stalled.destroy().catch(() => {})
  await outcome
})
