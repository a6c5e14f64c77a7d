import t from 'tap'
import { createActionLog } from '../../src/store/action-log.ts'
import type { Change, CommittedAction, CountedAction, PreviewedCall } from '../../src/vault/admission/ports.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { makeAction, principalNamed } from '../helpers/vault/actions.ts'

const day = 86_400
const long = { values: 10, windowSeconds: day }
const short = { values: 3, windowSeconds: 3600 }
const digest = 'A'.repeat(22)

const vault = await createVaultDatabase(t)
const owner = await vault.connect()
const log = createActionLog(vault.database('tokenvault_api', 2))
const passSeconds = (seconds: number) =>
  owner.query(`UPDATE pii_vault.spending SET slot = slot - interval '${seconds} seconds'`)

let requests = 0

/** A call of so many values, or its preview. */
function callOf(subject: string, values: number, bounds: Partial<PreviewedCall['charge']> = {}) {
  const charge = { values, withoutApproval: { asked: values, allowances: [[long, short], [long]] }, ...bounds }
  const principal = principalNamed(subject)
  const name = `request-${++requests}`
  return {
    made: makeAction(name, { principal, charge }),
    previewed: makeAction(name, { principal, preview: { charge, digest } }, { mode: 'preview', granted: 0 }),
  }
}

function standingOf({ admission }: CommittedAction | CountedAction) {
  if (!admission.allowed) throw new Error(`refused: ${admission.code}`)
  return admission.standing!
}

t.test('a preview counts what was committed before it, also in its own group, and is not counted itself', async t => {
  const bounds = { perMinute: 6, perDay: 9 }
  const [, , before, , after, again] = await Promise.all(
    // The first goes alone, and the others wait together meanwhile.
    [
      makeAction('first'),
      callOf('casey', 2, bounds).made,
      callOf('casey', 4, bounds).previewed,
      callOf('casey', 1, bounds).made,
      callOf('casey', 4, bounds).previewed,
      callOf('casey', 4, bounds).previewed,
    ].map(action => log.commit(action)),
  )
  const left = (values: number) => [
    { above: 3, windowSeconds: 3600, left: Math.max(3 - values, 0) },
    { above: 10, windowSeconds: day, left: 10 - values },
  ]
  t.strictSame(standingOf(before!), { dayLeft: 7, minuteLeft: 4, allowances: left(2) })
  const { exceeds, ...rest } = standingOf(after!)
  t.strictSame(rest, { dayLeft: 6, minuteLeft: 3, allowances: left(3) })
  t.equal(exceeds?.window, 'minute')
  t.ok(exceeds!.retryAfterSeconds > 50 && exceeds!.retryAfterSeconds <= 70)
  t.strictSame(standingOf(again!).allowances, left(3), 'a preview costs nothing')
  await passSeconds(80)
  t.match(standingOf(await log.commit(callOf('casey', 4, bounds).previewed)), { minuteLeft: 6, dayLeft: 6 })
})

t.test('what is not bounded is absent, and what was taken under other bounds leaves nothing, and not less', async t => {
  const unbounded = { withoutApproval: { asked: 2, allowances: [] } }
  t.strictSame(standingOf(await log.commit(callOf('dora', 2, unbounded).previewed)), { allowances: [] })
  await log.commit(callOf('dora', 20, { withoutApproval: { asked: 20, allowances: [] } }).made)
  const { nearest, ...standing } = standingOf(await log.commit(callOf('dora', 1, { perMinute: 5 }).previewed))
  t.match(standing, { minuteLeft: 0, exceeds: { window: 'minute' }, allowances: [{ left: 0 }, { left: 0 }] })
  t.strictSame(nearest, { above: 10, windowSeconds: day, left: 0 })
})

t.test('the open request of the same caller and call is told, until it is used or runs out', async t => {
  const ask: Change = {
    ...{ kind: 'request_approval', id: '00000000-0000-4000-8000-000000000001', digest },
    ...{ reveal: 'full', values: 1, fields: { ip: 1 } },
  }
  const eve = principalNamed('eve')
  const told = async (subject: string) => standingOf(await log.commit(callOf(subject, 1).previewed)).request
  t.equal(await told('eve'), undefined)
  await log.commit(makeAction('ask', { principal: eve, change: ask }, { decision: 'pending' }))
  t.match(await told('eve'), { id: ask.id, state: 'pending', expiresAt: /Z$/ })
  t.equal(await told('finn'), undefined)
  await log.commit(makeAction('yes', { change: { kind: 'decide_approval', id: ask.id, decision: 'approve' } }))
  t.match(await told('eve'), { id: ask.id, state: 'approved' })
  await owner.query(`UPDATE pii_vault.approvals SET expires_at = created_at`)
  t.equal(await told('eve'), undefined)
  await owner.query(`INSERT INTO pii_vault.approvals (id, principal, issuer, subject, roles, purpose, reveal, "values", fields,
      digest, state, created_at, expires_at)
    SELECT gen_random_uuid(), principal, issuer, subject, roles, purpose, reveal, "values", fields, 'other', 'pending',
      now(), now() + interval '1 hour' FROM pii_vault.approvals, generate_series(1, 100)`)
  t.match(standingOf(await log.commit(callOf('eve', 1).previewed)), { hasTooManyRequests: true })
})

t.test('a suspended principal is told nothing', async t => {
  await owner.query(`INSERT INTO pii_vault.suspensions
    VALUES (pii_vault.principal_id('https://issuer.test', 'gus'), 'https://issuer.test', 'gus', now())`)
  const { admission } = await log.commit(callOf('gus', 1).previewed)
  t.strictSame(admission, { allowed: false, code: 'principal_suspended' })
})
