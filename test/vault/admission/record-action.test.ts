import t from 'tap'
import { type AuditedAct, createRecordAct } from '../../../src/vault/admission/record-action.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import { Keyset } from '../../../src/vault/keys/keyset.ts'
import { freshKeys, investigator, ListAudit, worldPolicy } from '../../helpers/vault/vault-world.ts'

const keys = new FieldKeys(new Keyset(freshKeys()), 'default')
const policy = () => worldPolicy
const act: AuditedAct = {
  operation: 'detokenize',
  principal: investigator,
  requestId: 'request-1',
  purpose: 'fraud_investigation',
  requested: 5,
  grantedTokens: ['ip_v1_AAA', 'ip_v1_BBB', 'ip_v1_AAA'],
  withheld: ['token_unknown', 'token_unknown', 'token_malformed'],
}

t.test('an act becomes one event', async t => {
  const audit = new ListAudit()
  await createRecordAct(audit, keys, () => new Date('2026-01-02T03:04:05.678+05:30'), policy)(act)
  t.same(audit.events, [
    {
      type: 'detokenize',
      at: '2026-01-01T21:34:05.678Z',
      requestId: 'request-1',
      issuer: investigator.issuer,
      subject: investigator.subject,
      roles: investigator.roles,
      purpose: 'fraud_investigation',
      decision: 'permitted',
      requested: 5,
      granted: 3,
      tokens: keys.digest.digest(['ip_v1_AAA', 'ip_v1_BBB']),
      withheld: { token_unknown: 2, token_malformed: 1 },
      policy: worldPolicy.digest,
    },
  ])
  t.notOk(
    audit.events.some(event => 'code' in event),
    'a permitted act has no code',
  )
  t.notMatch(JSON.stringify(audit.events), /ip_v1_/, 'no token stands in it')
})

t.test('a refused act says why', async t => {
  const audit = new ListAudit()
  const record = createRecordAct(audit, keys, () => new Date(0), policy)
  await record({ ...act, grantedTokens: [], withheld: [], refusal: 'role_not_permitted' })
  t.match(audit.events[0], { decision: 'refused', code: 'role_not_permitted', granted: 0, tokens: [], withheld: {} })
})

t.test('whatever keeps an event from being committed is audit_unavailable', async t => {
  const reasons = [new Error('duplicate key (ip)=(203.0.113.7)'), 'text', undefined]
  for (const reason of reasons) {
    const record = createRecordAct({ commit: () => Promise.reject(reason) }, keys, () => new Date(0), policy)
    const error = await record(act).then(
      () => undefined,
      (error: unknown) => error,
    )
    t.match(error, { code: 'audit_unavailable' })
    t.notMatch(String(error), '203.0.113.7')
  }
  const brokenClock = createRecordAct(new ListAudit(), keys, () => new Date(Number.NaN), policy)
  await t.rejects(brokenClock(act), { code: 'audit_unavailable' }, 'a clock that cannot tell the time included')
})
