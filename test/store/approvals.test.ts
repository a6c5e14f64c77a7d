import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { createActionLog } from '../../src/store/action-log.ts'
import { createApprovalReader, listStatement } from '../../src/store/approvals.ts'
import type { Action, Admission, Change } from '../../src/vault/admission/ports.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { makeAction, principalNamed } from '../helpers/vault/actions.ts'

const casey = principalNamed('casey')
const approver = principalNamed('approver')
const digest = 'D'.repeat(22)
const refusedAs = (code: string) => ({ allowed: false, code })

async function startApprovals(t: Test) {
  const vault = await createVaultDatabase(t)
  const owner = await vault.connect()
  const log = createActionLog(vault.database('tokenvault_api', 1))
  const reader = createApprovalReader(vault.database('tokenvault_api', 1))
  const action = async (change: Change, changes: Partial<Omit<Action, 'events'>> = {}) =>
    (await log.commit(makeAction('action', { change, ...changes }))).admission
  const ask = (changes: Partial<Extract<Change, { kind: 'request_approval' }>> = {}, principal = casey) => {
    const what = { digest, reveal: 'full', values: 2, fields: { ip: 2 }, ...changes } as const
    return action({ kind: 'request_approval', id: randomUUID(), ...what }, { principal })
  }
  const asked = async (...args: Parameters<typeof ask>) => ((await ask(...args)) as { approvalId: string }).approvalId
  const decide = (id: string, decision: 'approve' | 'refuse' = 'approve', principal = approver) =>
    action({ kind: 'decide_approval', id, decision }, { principal })
  const use = (id: string, changes: { digest?: string; principal?: typeof casey; charge?: Action['charge'] } = {}) => {
    const { digest: used = digest, principal = casey, charge } = changes
    return action({ kind: 'use_approval', id, digest: used }, { principal, charge })
  }
  /** As if everything about requests had happened earlier. */
  const passMinutes = (minutes: number) =>
    owner.query(`UPDATE pii_vault.approvals SET created_at = created_at - interval '${minutes} minutes',
      expires_at = expires_at - interval '${minutes} minutes', decided_at = decided_at - interval '${minutes} minutes'`)
  const stateOf = async (id: string) => (await reader.findApproval(id))?.state
  return { ...vault, owner, log, reader, action, ask, asked, decide, use, passMinutes, stateOf }
}

t.test('a request is asked for, approved by another and used once', async t => {
  const { asked, decide, use, reader, stateOf } = await startApprovals(t)
  const id = await asked({ ticket: 'SEC-1', reveal: 'partial' })
  const pending = await reader.findApproval(id)
  t.match(pending, {
    id,
    state: 'pending',
    ...{ issuer: casey.issuer, subject: 'casey', roles: ['investigator'], purpose: 'fraud_investigation' },
    ...{ ticket: 'SEC-1', reveal: 'partial', values: 2, fields: { ip: 2 } },
    ...{ decidedBy: undefined, decidedAt: undefined },
  })
  t.equal(pending!.expiresAt.getTime() - pending!.createdAt.getTime(), 24 * 3600 * 1000)
  t.match(await use(id), refusedAs('approval_unusable'), 'not before it is approved')

  t.match(await decide(id), { allowed: true })
  const approved = await reader.findApproval(id)
  t.match(approved, { state: 'approved', decidedBy: 'approver' })
  t.equal(approved!.expiresAt.getTime() - approved!.decidedAt!.getTime(), 15 * 60 * 1000)

  t.match(await use(id, { digest: 'E'.repeat(22) }), refusedAs('approval_unusable'), 'of another call')
  t.match(await use(id, { principal: principalNamed('other') }), refusedAs('approval_unusable'), 'of another caller')
  const elsewhere = principalNamed('casey', 'https://other.test')
  t.match(await use(id, { principal: elsewhere }), refusedAs('approval_unusable'), 'of another issuer')
  t.match(await use(randomUUID()), refusedAs('approval_unusable'), 'of none')
  t.match(await use('no uuid'), refusedAs('approval_unusable'))
  t.equal(await stateOf(id), 'approved')
  t.match(await use(id), { allowed: true })
  t.equal(await stateOf(id), 'used')
  t.match(await use(id), refusedAs('approval_unusable'), 'a second time')
})

t.test(
  'nobody decides about a request of their own; of another issuer, an equal subject is another person',
  async t => {
    const { asked, decide, stateOf, owner } = await startApprovals(t)
    const id = await asked()
    for (const decision of ['approve', 'refuse'] as const) {
      t.match(await decide(id, decision, casey), refusedAs('approval_self'))
      t.match(await decide(id, decision, { ...casey, roles: ['approver'] }), refusedAs('approval_self'))
    }
    t.equal(await stateOf(id), 'pending')
    await t.rejects(
      owner.query(`UPDATE pii_vault.approvals SET state = 'approved', decided_by = subject,
      decided_by_issuer = issuer, decided_at = now()`),
      { code: '23514' },
      'not even the table holds one',
    )
    t.match(await decide(id, 'approve', principalNamed('casey', 'https://other.test')), { allowed: true })
  },
)

t.test('a request is decided once', async t => {
  const { asked, decide, use, passMinutes, stateOf } = await startApprovals(t)
  const id = await asked()
  t.match(await decide(id, 'refuse'), { allowed: true })
  t.equal(await stateOf(id), 'refused')
  t.match(await decide(id, 'approve', principalNamed('another')), refusedAs('approval_settled'))
  t.match(await use(id), refusedAs('approval_unusable'))
  t.match(await decide(randomUUID()), refusedAs('approval_unknown'))
  t.match(await decide('no uuid'), refusedAs('approval_unknown'))

  const late = await asked()
  await passMinutes(24 * 60)
  t.equal(await stateOf(late), 'expired')
  t.match(await decide(late), refusedAs('approval_settled'))
  t.equal(await stateOf(id), 'refused', 'what was decided stays')
})

t.test('a grant runs out after 15 minutes', async t => {
  const { asked, decide, use, passMinutes, stateOf } = await startApprovals(t)
  const id = await asked()
  await decide(id)
  await passMinutes(14)
  t.equal(await stateOf(id), 'approved')
  await passMinutes(1)
  t.equal(await stateOf(id), 'expired')
  t.match(await use(id), refusedAs('approval_unusable'))
  t.match(await decide(id), refusedAs('approval_settled'))
  const used = await asked()
  await decide(used)
  await use(used)
  await passMinutes(60)
  t.equal(await stateOf(used), 'used')
})

t.test('of twenty that use one grant at once, over four connections, one may', async t => {
  const { asked, decide, database, stateOf } = await startApprovals(t)
  const id = await asked()
  await decide(id)
  const logs = Array.from({ length: 4 }, () => createActionLog(database('tokenvault_api', 1)))
  const use: Change = { kind: 'use_approval', id, digest }
  const committed = await Promise.all(
    Array.from({ length: 20 }, (_, n) => logs[n % 4]!.commit(makeAction(`use-${n}`, { change: use }))),
  )
  t.equal(committed.filter(({ admission }) => admission.allowed).length, 1)
  const counted = committed.filter(action => 'isCounted' in action)
  const places = new Set(committed.flatMap(action => ('isCounted' in action ? [] : [action.sequence])))
  t.equal(places.size + counted.length, 20, 'all of them are on record')
  t.equal(await stateOf(id), 'used')
})

t.test('asking for the same again names the request that is open', async t => {
  const { ask, asked, decide, use, passMinutes } = await startApprovals(t)
  const id = await asked()
  t.match(await ask(), { allowed: true, approvalId: id, approvalState: 'pending' })
  t.not(await asked({ digest: 'E'.repeat(22) }), id)
  t.not(await asked({}, principalNamed('other')), id)
  await decide(id)
  const again = (await ask()) as Extract<Admission, { allowed: true }>
  t.match(again, { approvalId: id, approvalState: 'approved' })
  const left = Date.parse(again.approvalExpiresAt!) - Date.now()
  t.ok(left > 14 * 60_000 && left <= 15 * 60_000, `${left} ms are left`)
  await use(id)
  const next = await asked()
  t.not(next, id)
  await passMinutes(24 * 60)
  t.not(await asked(), next)
})

t.test('a principal has at most 100 undecided requests', async t => {
  const { ask, asked, decide, passMinutes } = await startApprovals(t)
  const numbered = (n: number) => ({ digest: String(n).padEnd(22, 'D') })
  const ids = await Promise.all(Array.from({ length: 100 }, (_, n) => asked(numbered(n))))
  t.match(await ask(numbered(100)), refusedAs('approvals_too_many'))
  t.match(await ask(numbered(7)), { allowed: true, approvalId: ids[7] }, 'an open one is no new one')
  t.match(await ask(numbered(100), principalNamed('other')), { allowed: true })
  await decide(ids[3]!, 'refuse')
  t.match(await ask(numbered(100)), { allowed: true })
  t.match(await ask(numbered(101)), refusedAs('approvals_too_many'))
  await passMinutes(24 * 60)
  t.match(await ask(numbered(101)), { allowed: true })
})

t.test('an approval is not used up by a call that a budget refuses, nor a budget by an unusable approval', async t => {
  const { asked, decide, use, stateOf, owner } = await startApprovals(t)
  const id = await asked()
  await decide(id)
  t.match(await use(id, { charge: { values: 2, perMinute: 1 } }), { code: 'budget_exceeded', window: 'minute' })
  t.equal(await stateOf(id), 'approved')
  t.match(await use(randomUUID(), { charge: { values: 2, perDay: 1 } }), refusedAs('approval_unusable'))
  t.strictSame((await owner.query('SELECT FROM pii_vault.suspensions')).rows, [], 'nor does it suspend')
  t.strictSame((await owner.query('SELECT FROM pii_vault.spending')).rows, [])
  t.match(await use(id, { charge: { values: 2, perMinute: 2 } }), { allowed: true })
})

t.test('requests are listed newest first, by state, page by page', async t => {
  const { asked, decide, use, passMinutes, reader } = await startApprovals(t)
  const ids: string[] = []
  for (let n = 0; n < 5; n++) ids.push(await asked({ digest: String(n).padEnd(22, 'D') }))
  await decide(ids[0]!)
  await use(ids[0]!, { digest: '0'.padEnd(22, 'D') })
  await decide(ids[1]!, 'refuse')
  await decide(ids[2]!)
  const list = async (options: Partial<Parameters<typeof reader.listApprovals>[0]>) =>
    (await reader.listApprovals({ limit: 100, ...options })).map(({ id }) => ids.indexOf(id))
  t.strictSame(await list({}), [4, 3, 2, 1, 0])
  t.strictSame(await list({ limit: 2 }), [4, 3])
  t.strictSame(await list({ limit: 2, before: ids[3]! }), [2, 1])
  t.strictSame(await list({ before: randomUUID() }), [])
  t.strictSame(await list({ state: 'pending' }), [4, 3])
  t.strictSame(await list({ state: 'pending', before: ids[4]! }), [3])
  t.strictSame(await list({ state: 'used' }), [0])
  t.strictSame(await list({ state: 'refused' }), [1])
  t.strictSame(await list({ state: 'approved' }), [2])
  t.strictSame(await list({ state: 'expired' }), [])
  await passMinutes(24 * 60)
  t.strictSame(await list({ state: 'expired' }), [4, 3, 2])
  t.strictSame(await list({ state: 'approved' }), [])
  t.equal(await reader.findApproval(randomUUID()), undefined)
})

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Shared Hit Blocks': number
  readonly 'Shared Read Blocks': number
  readonly 'Rows Removed by Filter'?: number
  readonly Plans?: readonly PlanNode[]
}

t.test('no list reads more than its page, however many requests there are of other kinds', async t => {
  const { owner, database, reader } = await startApprovals(t)
  // One requester has half of all, casey three of the oldest; few of the newest are open.
  await owner.query(`INSERT INTO pii_vault.approvals (id, principal, issuer, subject, roles, purpose, reveal, "values",
      fields, digest, state, created_at, expires_at, decided_by, decided_at)
    SELECT gen_random_uuid(), pii_vault.principal_id('https://issuer.test', subject), 'https://issuer.test', subject, '[]',
      'p', 'full', 1, '{}', n::text, state, created_at, created_at + interval '24 hours',
      CASE WHEN state <> 'pending' THEN 'approver' END, CASE WHEN state <> 'pending' THEN created_at END
    FROM (
      SELECT n, now() - n * interval '10 minutes' AS created_at,
        CASE WHEN n > 59997 THEN 'casey' WHEN n % 2 = 0 THEN 'busy' ELSE 's-' || n % 1000 END AS subject,
        CASE WHEN n % 3 = 0 THEN 'pending' WHEN n > 59990 THEN 'refused' WHEN n % 5000 = 1 THEN 'approved' ELSE 'used' END
          AS state
      FROM generate_series(1, 60000) AS n
    ) AS requests`)
  const api = database('tokenvault_api', 1)
  const [middle] = (await owner.query('SELECT id FROM pii_vault.approvals ORDER BY created_at OFFSET 30000 LIMIT 1'))
    .rows
  const nodesOf = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)]
  await owner.query('ANALYZE pii_vault.approvals')
  for (const state of [undefined, 'pending', 'approved', 'refused', 'used', 'expired'] as const) {
    for (const requester of [undefined, casey, principalNamed('busy'), principalNamed('nobody')]) {
      for (const before of [undefined, middle.id]) {
        const options = { state, requester, before, limit: 20 }
        const { rows } = await sql<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>`
            explain (analyze, buffers, format json) ${listStatement(options)}`.execute(api)
        const plan = rows[0]!['QUERY PLAN'][0].Plan
        const nodes = nodesOf(plan)
        const title = `${state}, ${requester?.subject}, ${before}`
        t.notOk(
          nodes.some(node => node['Node Type'] === 'Seq Scan'),
          `${title}: no scan of the table`,
        )
        const removed = Math.max(...nodes.map(node => node['Rows Removed by Filter'] ?? 0))
        const blocks = plan['Shared Hit Blocks'] + plan['Shared Read Blocks']
        t.ok(removed <= 200 && blocks <= 400, `${title}: ${removed} rows read in vain, ${blocks} blocks`)
        const listed = await reader.listApprovals(options)
        t.ok(listed.every(approval => (state ?? approval.state) === approval.state))
      }
    }
  }
  t.equal((await reader.listApprovals({ requester: casey, limit: 20 })).length, 3)
  t.equal((await reader.listApprovals({ state: 'refused', limit: 20 })).length, 6)
  t.equal((await reader.listApprovals({ state: 'pending', limit: 100 })).length, 47)
  t.equal((await reader.listApprovals({ state: 'expired', limit: 1000 })).length, 1000)
})
