import t, { type Test } from 'tap'
import { createActionLog } from '../../src/store/action-log.ts'
import type { Admission, Change, Charge, CommittedAction } from '../../src/vault/admission/ports.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { auditEvents, makeAction, principalNamed } from '../helpers/vault/actions.ts'

const day = 86_400
const casey = principalNamed('casey')
const allowances = [[{ values: 10, windowSeconds: day }]]

let requests = 0

/** As a detokenize call that asks for so many values, and is given `given` of them. */
function taking(asked: number, given = asked, terms = allowances, principal = casey) {
  const charge: Charge = { values: given, withoutApproval: { asked, allowances: terms } }
  const name = `request-${++requests}`
  const change: Change = {
    ...{ kind: 'request_approval', id: `00000000-0000-4000-8000-${String(requests).padStart(12, '0')}` },
    ...{ digest: name.padEnd(22, 'A'), reveal: 'full', values: asked, fields: { ip: asked } },
  }
  const action = makeAction(name, { principal, charge })
  const event = auditEvents(action, name, { decision: 'pending', granted: 0, tokens: [], withheld: {} }).admitted
  return { ...action, otherwise: () => ({ change, event }) }
}

async function build(t: Test) {
  const vault = await createVaultDatabase(t)
  const owner = await vault.connect()
  const logs = [0, 1].map(() => createActionLog(vault.database('tokenvault_api', 2)))
  const log = logs[0]!
  const passSeconds = (seconds: number) =>
    owner.query(`UPDATE pii_vault.taken_without_approval SET slot = slot - interval '100 years';
      UPDATE pii_vault.taken_without_approval SET slot = slot + interval '100 years' - interval '${seconds} seconds'`)
  const take = async (...given: Parameters<typeof taking>) => outcomeOf((await log.commit(taking(...given))).admission)
  const events = async () => {
    const { rows } = await owner.query('SELECT event FROM pii_vault.audit_log ORDER BY sequence')
    return rows.map(({ event }) => JSON.parse(event.toString()))
  }
  return { ...vault, owner, log, logs, passSeconds, take, events }
}

/** `given`, or what is left without a second person. */
function outcomeOf(admission: Admission): string {
  if (!admission.allowed) return `${admission.code} ${admission.withoutApproval?.left ?? ''}`.trim()
  return admission.approvalId === undefined ? 'given' : `asked ${admission.withoutApproval?.left}`
}

t.test('what a principal took in the window counts, whatever the calls it was split into', async t => {
  const { take, events, owner } = await build(t)
  const other = principalNamed('other')
  t.equal(await take(10), 'given', 'one call of as many as the policy allows')
  t.equal(await take(1), 'asked 0')
  t.equal(await take(0), 'given', 'a call that asks for nothing')
  t.equal(await take(11, 11, allowances, other), 'asked 10', 'as before: one call of more')
  t.equal(await take(6, 4, allowances, other), 'given', 'of which four were given')
  t.equal(await take(7, 7, allowances, other), 'asked 6', 'what was given counts, not what was asked for')
  t.equal(await take(6, 6, allowances, other), 'given')
  const { rows } = await owner.query(
    `SELECT subject, "values"::int AS asked, state FROM pii_vault.approvals ORDER BY 1, 2`,
  )
  t.strictSame(rows, [
    { subject: 'casey', asked: 1, state: 'pending' },
    { subject: 'other', asked: 7, state: 'pending' },
    { subject: 'other', asked: 11, state: 'pending' },
  ])
  t.match((await events())[1], { decision: 'pending', granted: 0, tokens: [], approval: /^0000/ })
})

t.test('two calls at once, in one process or in two, do not both pass', async t => {
  const { logs, owner } = await build(t)
  for (const commits of [
    [logs[0], logs[0]],
    [logs[0], logs[1]],
  ]) {
    await owner.query('TRUNCATE pii_vault.taken_without_approval')
    // The first goes alone, so that the others wait together where they share a log.
    const [, ...both] = await Promise.all([
      commits[0]!.commit(makeAction('first')),
      ...commits.map(log => log!.commit(taking(6))),
    ])
    t.same((both as CommittedAction[]).map(({ admission }) => outcomeOf(admission)).sort(), ['asked 4', 'given'])
  }
})

t.test('the window slides, and a lifted suspension does not empty it', async t => {
  const { take, passSeconds, log, owner } = await build(t)
  t.equal(await take(10), 'given')
  // A minute less, so that it does not matter where in the ten minutes the test began.
  await passSeconds(day - 60)
  t.equal(await take(1), 'asked 0', 'a part of the ten minutes is in the day')
  await owner.query(`INSERT INTO pii_vault.suspensions
    VALUES (pii_vault.principal_id('https://issuer.test', 'casey'), 'https://issuer.test', 'casey', now())`)
  t.equal(await take(1), 'principal_suspended')
  const { issuer, subject } = casey
  await log.commit(
    makeAction('lift', { principal: principalNamed('admin'), change: { kind: 'lift_suspension', issuer, subject } }),
  )
  t.equal(await take(1), 'asked 0')
  await passSeconds(60 + 600)
  t.equal(await take(10), 'given')
  await passSeconds(7 * day + 600)
  t.equal(await take(1), 'given')
  const { rows } = await owner.query('SELECT sum("values")::int AS kept FROM pii_vault.taken_without_approval')
  t.strictSame(rows, [{ kept: 1 }], 'what left the longest window is removed')
})

t.test('of a field any allowance suffices, and of the fields each counts', async t => {
  const { take, passSeconds } = await build(t)
  const [long, short] = [
    { values: 10, windowSeconds: day },
    { values: 3, windowSeconds: 3600 },
  ] as const
  t.equal(await take(10, 10, [[long, short]]), 'given')
  t.equal(await take(3, 3, [[long, short]]), 'asked 0')
  await passSeconds(3600 + 600)
  t.equal(await take(3, 3, [[long], [short]]), 'asked 0', 'another field has the long one only')
  t.equal(await take(4, 4, [[long, short]]), 'asked 3', 'what comes nearest is told')
  t.equal(await take(3, 3, [[long, short]]), 'given')
  t.equal(await take(50, 50, []), 'given', 'no role bounds it')
  t.equal(await take(3, 3, [[short]]), 'asked 0', 'and it counts all the same')
})

t.test('what was approved does not count, and opens nothing else', async t => {
  const { log, take } = await build(t)
  t.equal(await take(4), 'given')
  const asking = taking(7)
  const { admission } = await log.commit(asking)
  t.match(admission, { withoutApproval: { above: 10, windowSeconds: day, left: 6 } })
  const { change } = asking.otherwise()
  if (change.kind !== 'request_approval') throw new Error('not a request')
  const { id, digest } = change
  const robin = principalNamed('robin')
  await log.commit(
    makeAction('yes', { principal: robin, change: { kind: 'decide_approval', id, decision: 'approve' } }),
  )
  const used = await log.commit(
    makeAction('used', { charge: { values: 7 }, change: { kind: 'use_approval', id, digest } }),
  )
  t.equal(outcomeOf(used.admission), 'given')
  t.equal(await take(7), 'asked 6', 'it resets nothing')
  t.equal(await take(6), 'given', 'it counts nothing')
})

t.test('an action that nobody can approve is refused with what is left, and on record', async t => {
  const { log, take, events } = await build(t)
  t.equal(await take(9), 'given')
  const { otherwise: _, ...action } = taking(2)
  t.equal(outcomeOf((await log.commit(action)).admission), 'approval_required 1')
  t.match((await events()).at(-1), { decision: 'refused', code: 'approval_required' })
  t.equal(await take(1), 'given')
})
