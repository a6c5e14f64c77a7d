import t from 'tap'
import {
  checkApprovalId,
  checkBatchSize,
  checkPurpose,
  checkTicket,
  createOpenAction,
  maxBatchItems,
} from '../../../src/vault/admission/open-action.ts'
import type { ApprovalNotice, Change } from '../../../src/vault/admission/ports.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import { Keyset } from '../../../src/vault/keys/keyset.ts'
import { freshKeys, investigator, ListAudit, worldPolicy } from '../../helpers/vault/vault-world.ts'

const keys = new FieldKeys(new Keyset(freshKeys()), 'default')
const call = {
  operation: 'detokenize',
  principal: investigator,
  requestId: 'request-1',
  purpose: 'fraud_investigation',
  requested: 5,
} as const
const outcome = {
  grantedTokens: ['ip_v1_AAA', 'ip_v1_BBB', 'ip_v1_AAA'],
  withheld: ['token_unknown', 'token_unknown', 'token_malformed'],
} as const

function build(change: Partial<Parameters<typeof createOpenAction>[0]> = {}) {
  const audit = new ListAudit()
  const notices: ApprovalNotice[] = []
  const openAction = createOpenAction({
    log: audit,
    keys,
    now: () => new Date('2026-01-02T03:04:05.678+05:30'),
    policy: () => worldPolicy,
    notifyApprovers: notice => notices.push(notice),
    ...change,
  })
  return { audit, notices, openAction }
}

t.test('an action becomes one event', async t => {
  const { audit, openAction } = build()
  const { record, policy } = await openAction(call)
  t.equal(policy, worldPolicy)
  t.same(audit.events, [], 'and opening it none')
  await record(outcome)
  const event = {
    format: 2,
    type: 'detokenize',
    at: '2026-01-01T21:34:05.678Z',
    requestId: 'request-1',
    issuer: investigator.issuer,
    subject: investigator.subject,
    roles: investigator.roles,
    channel: 'http',
    purpose: 'fraud_investigation',
    decision: 'permitted',
    requested: 5,
    granted: 3,
    tokens: keys.digest.digest(['ip_v1_AAA', 'ip_v1_BBB']),
    withheld: { token_unknown: 2, token_malformed: 1 },
    policy: worldPolicy.digest,
  }
  t.equal(JSON.stringify(audit.events), JSON.stringify([event]), 'with its members in this order, and none besides')
  t.notMatch(JSON.stringify(audit.events), /ip_v1_/, 'no token stands in it')
})

t.test('the events of every admission have their members in one order', async t => {
  const { audit, openAction } = build()
  const principal = { ...investigator, jwtId: 'jti-1', actor: { subject: 'service' }, client: 'desk' }
  const { record } = await openAction({
    ...call,
    principal,
    mode: 'look_up',
    ticket: 'SEC-1',
    concerns: { subject: 's' },
  })
  const fields = new Map([['ip', { requested: 5, granted: 3, level: 'full' as const }]])
  const id = '5b0e7a52-6f1c-4d39-9a40-0d6c5b1f2e77'
  const ask: Change = { kind: 'request_approval', id, digest: 'D', reveal: 'full', values: 1, fields: { ip: 1 } }
  const use: Change = { kind: 'use_approval', id, digest: 'D' }
  const asked = 'format type at requestId issuer subject roles client actor jwt channel purpose decision'
  const given = 'requested granted fields tokens withheld mode'

  await record({ ...outcome, fields, quarantined: ['q'], partial: 1, change: use })
  t.strictSame(audit.events[0]!.fields, Object.fromEntries(fields))
  audit.admission = { allowed: true, approvalId: 'earlier', approvalState: 'pending', approvalExpiresAt: 'later' }
  await record({ fields, change: ask })
  const notGiven = { ip: { requested: 5, granted: 0, level: 'full' } }
  t.match(audit.events.at(-1), { decision: 'pending', approval: 'earlier', granted: 0, fields: notGiven })
  audit.admission = { allowed: false, code: 'approval_unusable' }
  await t.rejects(record({ ...outcome, fields, change: use }), { code: 'approval_unusable' })
  t.match(audit.events.at(-1), {
    decision: 'refused',
    code: 'approval_unusable',
    approval: id,
    granted: 0,
    fields: notGiven,
    withheld: {},
  })
  audit.admission = { allowed: false, code: 'approvals_too_many' }
  await t.rejects(record({ fields, change: ask }), { code: 'approvals_too_many' })
  t.same(
    audit.events.map(event => Object.keys(event).join(' ')),
    [
      `${asked} ${given} quarantine partial approval ticket concerns policy`,
      `${asked} ${given} approval ticket concerns policy`,
      `${asked} code ${given} approval ticket concerns policy`,
      `${asked} code ${given} ticket concerns policy`,
    ],
  )
})

t.test(
  'an event names the application, who acts for the caller, and the JWT by a digest that no token can have',
  async t => {
    const { audit, openAction } = build()
    const actor = { issuer: 'https://other.test', subject: 'service' }
    const principal = { ...investigator, client: 'desk', actor, jwtId: 'ip_v1_AAA' }
    const { record, withhold } = await openAction({ ...call, principal })
    await record({ grantedTokens: ['ip_v1_AAA'] })
    await t.rejects(withhold('audit_event_unknown'), { code: 'audit_event_unknown' })
    const { needs, operation } = { operation: 'suspension_list', needs: 'suspensions' } as const
    await t.rejects(openAction({ operation, needs, principal, requestId: 'r' }), { code: 'role_not_permitted' })
    const [event, ...others] = audit.events
    t.match(event, { client: 'desk', actor, jwt: /^[\w-]{22}$/, channel: 'http' })
    t.not(event!.jwt, event!.tokens[0], 'a JWT whose id is a token does not look as if the token had been given')
    for (const other of others) t.match(other, { client: 'desk', actor, jwt: event!.jwt, channel: 'http' })
    t.notMatch(JSON.stringify(audit.events), /ip_v1_AAA/)
    const another = await openAction({ ...call, principal: { ...principal, jwtId: 'ip_v1_AAB' } })
    await another.record()
    t.not(audit.events.at(-1)!.jwt, event!.jwt)
  },
)

t.test('a refused action says why, before the caller hears it', async t => {
  const { audit, openAction } = build()
  const { refuse, withhold } = await openAction(call)
  await t.rejects(refuse('purpose_not_permitted', 'why'), { code: 'purpose_not_permitted', message: 'why' })
  await t.rejects(withhold('audit_event_unknown'), { code: 'audit_event_unknown' })
  t.match(audit.events, [
    { decision: 'refused', code: 'purpose_not_permitted', requested: 5, granted: 0, tokens: [], withheld: {} },
    { decision: 'permitted', granted: 0, tokens: [], withheld: { audit_event_unknown: 1 } },
  ])
})

t.test('who lacks the capability is refused at the opening, and that is on record', async t => {
  const { audit, openAction } = build()
  const { principal, requestId } = call
  const needy = { operation: 'quarantine_show', principal, requestId, needs: 'quarantine' } as const
  await t.rejects(openAction(needy), { code: 'role_not_permitted' })
  t.match(audit.events, [{ type: 'quarantine_show', decision: 'refused', code: 'role_not_permitted', granted: 0 }])
  await t.resolves(openAction({ ...needy, principal: { ...investigator, roles: ['operator'] } }))
  t.equal(audit.events.length, 1)

  audit.admission = { allowed: false, code: 'principal_suspended' }
  await t.rejects(openAction(needy), { code: 'principal_suspended' }, 'a suspended principal hears that first')
  const failing = build({ log: { commit: () => Promise.reject(new Error('no')) } })
  await t.rejects(
    failing.openAction(needy),
    { code: 'audit_unavailable' },
    'without evidence not even the refusal is told',
  )
})

t.test('a call of the wrong shape is not opened, and leaves no evidence', async t => {
  const { audit, openAction } = build()
  await t.rejects(openAction({ ...call, purpose: '' }), { code: 'purpose_missing' })
  await t.rejects(openAction({ ...call, purpose: '203.0.113.7' }), { code: 'purpose_invalid' })
  await t.rejects(openAction({ ...call, ticket: '203.0.113.7' }), { code: 'ticket_invalid' })
  await t.rejects(openAction({ ...call, requested: 0 }), { code: 'batch_empty' })
  await t.rejects(openAction({ ...call, requested: 10_001 }), { code: 'batch_too_large' })
  t.same(audit.events, [])
})

t.test('approvers are told of a new request once it is committed, and of nothing else', async t => {
  const { audit, notices, openAction } = build()
  const { record } = await openAction({ ...call, ticket: 'SEC-1' })
  const what = { ticket: 'SEC-1', reveal: 'full', values: 1, fields: { ip: 1 } } as const
  const ask: Change = { kind: 'request_approval', id: 'new', digest: 'D', ...what }
  audit.admission = { allowed: true, approvalId: 'earlier', approvalState: 'pending', approvalExpiresAt: 'later' }
  await record({ change: ask })
  audit.admission = { allowed: false, code: 'approvals_too_many' }
  await t.rejects(record({ change: ask }), { code: 'approvals_too_many' })
  audit.admission = { allowed: true }
  await record(outcome)
  t.same(notices, [])
  audit.admission = { allowed: true, approvalId: 'new', approvalState: 'pending', approvalExpiresAt: 'later' }
  await record({ change: ask })
  const { issuer, subject, roles } = investigator
  t.strictSame(notices, [{ id: 'new', issuer, subject, roles, purpose: call.purpose, ...what, expiresAt: 'later' }])
})

t.test('whatever keeps an event from being committed is audit_unavailable', async t => {
  const reasons = [new Error('duplicate key (ip)=(203.0.113.7)'), 'text', undefined]
  for (const reason of reasons) {
    const { record } = await build({ log: { commit: () => Promise.reject(reason) } }).openAction(call)
    const error = await record(outcome).then(
      () => undefined,
      (error: unknown) => error,
    )
    t.match(error, { code: 'audit_unavailable' })
    t.notMatch(String(error), '203.0.113.7')
  }
  const { record } = await build({ now: () => new Date(Number.NaN) }).openAction(call)
  await t.rejects(record(outcome), { code: 'audit_unavailable' }, 'a clock that cannot tell the time included')
})

t.test('a purpose is a short identifier', async t => {
  for (const purpose of ['fraud_investigation', 'abc', 'a-b_c', 'x'.repeat(64)]) {
    t.doesNotThrow(() => checkPurpose(purpose), purpose)
  }
  t.throws(() => checkPurpose(''), { code: 'purpose_missing' })
  const bad = [
    'ab',
    'a-1',
    'fraud_203',
    'fraud_',
    'fraud__case',
    'x'.repeat(65),
    'Fraud',
    '1abc',
    '_abc',
    'fraud case',
    'fraud\n',
    ' fraud',
    '203.0.113.7',
    'fräud',
    'a:b',
  ]
  for (const purpose of bad) t.throws(() => checkPurpose(purpose), { code: 'purpose_invalid' }, JSON.stringify(purpose))
})

t.test('a batch holds 1 to 10,000 items', async t => {
  t.equal(maxBatchItems, 10_000)
  t.throws(() => checkBatchSize(0), { code: 'batch_empty' })
  t.doesNotThrow(() => checkBatchSize(1))
  t.doesNotThrow(() => checkBatchSize(10_000))
  t.throws(() => checkBatchSize(10_001), { code: 'batch_too_large' })
})

t.test('a ticket is letters and one number, so that it carries no value', async t => {
  for (const ticket of [undefined, 'SEC-1234', 'INC0012345', 'ab1', 'ABCDEFGHIJ-12345678']) {
    t.doesNotThrow(() => checkTicket(ticket), String(ticket))
  }
  const bad = [
    '',
    'SEC',
    '1234',
    'S-1',
    'SEC-',
    'SEC--1',
    'SEC-123456789',
    'ABCDEFGHIJK-1',
    'SEC-1 ',
    'SEC-1\n',
    'SEC_1',
    'ip-10.0.0.1',
  ]
  for (const ticket of bad) t.throws(() => checkTicket(ticket), { code: 'ticket_invalid' }, JSON.stringify(ticket))
})

t.test('what cannot be the id of a request for approval is unknown, and never reaches the store', async t => {
  t.doesNotThrow(() => checkApprovalId(undefined))
  t.doesNotThrow(() => checkApprovalId('5b0e7a52-6f1c-4d39-9a40-0d6c5b1f2e77'))
  for (const id of ['', 'x', '5B0E7A52-6F1C-4D39-9A40-0D6C5B1F2E77', '5b0e7a526f1c4d399a400d6c5b1f2e77', "' or 1=1 --"])
    t.throws(() => checkApprovalId(id), { code: 'approval_unknown' }, id)
})
