import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { createActionLog } from '../../src/store/action-log.ts'
import { createDatabase } from '../../src/store/postgres/database.ts'
import type { Action } from '../../src/vault/admission/ports.ts'
import { startDatabaseProxy } from '../helpers/postgres/database-proxy.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { makeAction, principalNamed } from '../helpers/vault/actions.ts'

const charge = { values: 1, perMinute: 1000, perDay: 1000 }
const digest = 'D'.repeat(22)
const suspended = principalNamed('suspended')
const approver = principalNamed('approver')

/** A vault with one event less than a subtree, so that the next action touches every table it ever can. */
async function startVault(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const log = createActionLog(vault.database('tokenvault_api', 1))
  await Promise.all(Array.from({ length: 248 }, (_, n) => log.commit(makeAction(`r-${n}`, { charge }))))
  await log.commit(makeAction('over', { principal: suspended, charge: { values: 2, perDay: 1 } }))
  const request = async () => {
    const ask = {
      kind: 'request_approval',
      id: randomUUID(),
      digest,
      reveal: 'full',
      values: 1,
      fields: { ip: 1 },
    } as const
    return (await log.commit(makeAction('ask', { change: ask }))).admission as { approvalId: string }
  }
  const { approvalId: granted } = await request()
  await log.commit(decide(granted))
  const everything = async () => {
    const tables = [
      ...['audit_log', 'audit_head', 'audit_subtrees', 'spending', 'suspensions', 'approvals'],
      ...['taken_without_approval', 'refusals'],
    ]
    const parts = tables.map(name => `(SELECT jsonb_agg(to_jsonb(x)) FROM pii_vault.${name} AS x) AS ${name}`)
    return (await admin.query(`SELECT ${parts.join(', ')}`)).rows[0]
  }
  return { ...vault, admin, log, granted, everything }
}

const decide = (id: string): Action =>
  makeAction('decide', { principal: approver, change: { kind: 'decide_approval', id, decision: 'approve' } })
const lift: Action = makeAction('lift', { principal: approver, change: { kind: 'lift_suspension', ...suspended } })
const plain = makeAction('plain', { charge })
const refusal = makeAction('refused', { givesNothing: true })
const taking = makeAction('taking', {
  charge: { values: 1, withoutApproval: { asked: 1, allowances: [[{ values: 1, windowSeconds: 3600 }]] } },
})
const overDay = makeAction('over', { principal: principalNamed('other'), charge: { values: 2, perDay: 1 } })

t.test('whatever statement of a commit fails, the action is rejected and nothing of it is stored', async t => {
  const { admin, log, granted, everything } = await startVault(t)
  const ask = (): Action => {
    const change = {
      kind: 'request_approval',
      id: randomUUID(),
      digest: 'E'.repeat(22),
      reveal: 'full',
      values: 1,
      fields: {},
    } as const
    return makeAction('ask', { change })
  }
  const use = makeAction('use', { charge, change: { kind: 'use_approval', id: granted, digest } })
  // The right without which a statement inside the functions fails, and the actions that come to it. An action of each kind is
  // tried at every statement; the 256th event is the one that stores a subtree.
  const statements: readonly [string, readonly Action[]][] = [
    ['SELECT, UPDATE ON pii_vault.audit_head', [plain, overDay, ask(), use, lift]],
    ['UPDATE ON pii_vault.audit_head', [plain, overDay, ask(), use, lift]],
    ['SELECT ON pii_vault.suspensions', [plain, overDay, ask(), use, lift]],
    ['SELECT ON pii_vault.spending', [plain, overDay, ask(), use, lift]],
    ['SELECT ON pii_vault.approvals', [ask(), use]],
    ['INSERT ON pii_vault.suspensions', [overDay]],
    ['DELETE ON pii_vault.suspensions', [lift]],
    ['INSERT ON pii_vault.approvals', [ask()]],
    ['UPDATE ON pii_vault.approvals', [use]],
    ['INSERT ON pii_vault.spending', [plain, use]],
    ['UPDATE ON pii_vault.spending', [plain, use]],
    ['DELETE ON pii_vault.spending', [lift]],
    ['INSERT ON pii_vault.taken_without_approval', [taking]],
    ['SELECT ON pii_vault.taken_without_approval', [taking]],
    ['UPDATE ON pii_vault.refusals', [refusal]],
    ['INSERT ON pii_vault.refusals', [refusal]],
    ['DELETE ON pii_vault.refusals', [refusal]],
    ['INSERT ON pii_vault.audit_log', [plain, overDay, ask(), use, lift]],
    ['INSERT ON pii_vault.audit_subtrees', [plain, overDay, ask(), use, lift]],
    ['EXECUTE ON FUNCTION pii_vault.append_audit', [plain, overDay, ask(), use, lift]],
    ['EXECUTE ON FUNCTION pii_vault.append_actions', [overDay, ask(), use, lift, refusal]],
    ['EXECUTE ON FUNCTION pii_vault.check_allowances', [taking]],
    ['EXECUTE ON FUNCTION pii_vault.admit_actions', [overDay, ask(), use, lift]],
    ['EXECUTE ON FUNCTION pii_vault.commit_plain_actions', [plain]],
    ['EXECUTE ON FUNCTION pii_vault.read_standings', [plain, overDay, ask(), use, lift]],
    ['EXECUTE ON FUNCTION pii_vault.check_plain', [plain, overDay]],
    ['EXECUTE ON FUNCTION pii_vault.check_charge', [overDay, use]],
    ['EXECUTE ON FUNCTION pii_vault.check_change', [ask(), use, lift]],
    ['EXECUTE ON FUNCTION pii_vault.apply_change', [ask(), use, lift]],
    ['EXECUTE ON FUNCTION pii_vault.apply_charges', [plain, overDay, ask(), use, lift]],
  ]
  while ((await everything()).audit_log.length < 255) await log.commit(makeAction('filler'))
  const before = await everything()
  for (const [right, actions] of statements) {
    const roles = right.startsWith('EXECUTE') ? 'tokenvault_owner, tokenvault_api' : 'tokenvault_owner'
    await admin.query(`REVOKE ${right} FROM ${roles}`)
    for (const action of actions) {
      const requestId = action.events.admitted.requestId
      await t.rejects(
        log.commit(action),
        { code: 'store_misconfigured', message: /42501$/ },
        `${requestId} without ${right}`,
      )
    }
    await admin.query(`GRANT ${right} TO ${roles}`)
    t.strictSame(await everything(), before, right)
  }
  for (const action of [plain, overDay, ask(), use, lift]) await t.resolves(log.commit(action))
  t.not((await everything()).audit_subtrees, null)
})

t.test('a commit that fails, hangs or loses its server stores nothing either', async t => {
  const { admin, urlFor, log, everything } = await startVault(t)
  const short = createDatabase({
    url: urlFor('tokenvault_api'),
    poolMax: 1,
    applicationName: 't',
    statementTimeoutMilliseconds: 200,
  })
  t.teardown(() => short.destroy())
  const before = await everything()
  const fail = `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN`
  const spoil: readonly [string, string, RegExp][] = [
    [
      `${fail} RAISE EXCEPTION 'at commit' USING ERRCODE = 'disk_full'; END $$;
       CREATE CONSTRAINT TRIGGER spoil AFTER INSERT ON pii_vault.audit_log INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION fail()`,
      'the commit itself fails',
      /53100$/,
    ],
    [
      `${fail} PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
       CREATE TRIGGER spoil BEFORE INSERT ON pii_vault.audit_log FOR EACH ROW EXECUTE FUNCTION fail()`,
      'the backend is terminated',
      /57P01$/,
    ],
    [
      `${fail} PERFORM pg_sleep(60); RETURN NEW; END $$;
       CREATE TRIGGER spoil BEFORE UPDATE ON pii_vault.audit_head FOR EACH STATEMENT EXECUTE FUNCTION fail()`,
      'a statement hangs',
      /57014$/,
    ],
  ]
  const { rows: first } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(short)
  const pids = new Set(first.map(({ pid }) => pid))
  for (const [statements, name, message] of spoil) {
    await admin.query(statements)
    for (const action of [plain, lift]) {
      await t.rejects(createActionLog(short).commit(action), { code: 'store_unavailable', message }, name)
    }
    await admin.query('DROP FUNCTION fail() CASCADE')
    t.strictSame(await everything(), before, name)
    const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(short)
    // A statement that was ended in time leaves a sound connection; nothing else does.
    if (name !== 'a statement hangs') t.notOk(pids.has(rows[0]!.pid), 'its connection is not used again')
    pids.add(rows[0]!.pid)
  }
  await t.resolves(createActionLog(short).commit(plain))

  const held = await everything()
  const blocker = createActionLog(short)
  await admin.query('BEGIN; SELECT FROM pii_vault.audit_head FOR UPDATE')
  for (const action of [plain, lift])
    await t.rejects(blocker.commit(action), { message: /57014$/ }, 'the head stays locked')
  await admin.query('ROLLBACK')
  t.strictSame(await everything(), held)
  t.match(await log.commit(lift), { admission: { allowed: true } }, 'and the suspension is there to be lifted')
})

t.test('a connection that ends at any statement of a transaction leaves nothing of it', async t => {
  const { urlFor, everything } = await startVault(t)
  const proxy = await startDatabaseProxy(t, urlFor('tokenvault_api'))
  const database = createDatabase({ url: proxy.url, poolMax: 1, applicationName: 't' })
  t.teardown(() => database.destroy())
  const log = createActionLog(database)
  const before = await everything()
  const answers = [
    'start transaction isolation level read committed',
    'admit_actions($1::jsonb) as admissions',
    'append_actions($1::bytea[], $2::jsonb) as sequences offset 0) as appended',
  ]
  for (const statement of answers) {
    proxy.cutAnswerTo(statement)
    await t.rejects(log.commit(lift), { code: 'store_unavailable' }, statement)
    t.strictSame(await everything(), before, statement)
  }
  t.equal(proxy.connections(), 3)
  t.match(await log.commit(lift), { admission: { allowed: true } })
})
