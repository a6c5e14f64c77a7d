import { createHash } from 'node:crypto'
import { renameSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { openReceipt } from '../../../src/tlog/receipt.ts'
import { createNoteVerifier } from '../../../src/tlog/signed-note.ts'
import { type Caller, startVaultApi } from '../../helpers/http/vault-api.ts'

const policy = `version: 1
roles:
  investigator: { reveal: { "*": full }, tokenize: [ip], purposes: [fraud], batch_limit: 3, budget: { per_minute: 5 } }
  daily: { reveal: { "*": full }, purposes: [fraud], budget: { per_minute: 9, per_day: 2 } }
  support: { reveal: { "*": partial }, purposes: [support], ticket: required }
  operator: { quarantine: true }
  administrator: { suspensions: true }
`
const alice: Caller = { sub: 'alice', roles: ['investigator'] }
const support: Caller = { sub: 'sam', roles: ['support'] }

t.test('a call is decided by the policy, charged, recorded and answered with a receipt', async t => {
  const api = await startVaultApi(t, { policy, originals: 6 })
  const [first, second, third] = api.tokens as [string, string, string]
  const ask = (caller: Caller, body: object) =>
    api.call(caller, 'POST', '/v1/detokenize', { purpose: 'fraud', tokens: [first], ...body })

  const found = await ask(alice, {})
  t.match(found, { status: 200, json: { results: [{ token: first, field: 'ip', value: '10.0.0.0' }] } })
  const verifier = createNoteVerifier(api.vault.keys.signer('tokenvault/default').verifierKey)
  const place = openReceipt(found.json['receipt'], verifier)
  const auditor = await api.vault.connect('tokenvault_auditor')
  const { rows } = await auditor.query('SELECT event FROM pii_vault.audit_log WHERE sequence = $1', [place.sequence])
  t.strictSame(
    Buffer.from(place.leafHash),
    createHash('sha256').update(Uint8Array.of(0)).update(rows[0].event).digest(),
    'the receipt is of the event of this call',
  )
  t.match(JSON.parse(rows[0].event), { type: 'detokenize', subject: 'alice', granted: 1, policy: /^[0-9a-f]{16}$/ })

  const part = await ask(support, { purpose: 'support', ticket: 'SUP-1' })
  t.match(part, { status: 200, json: { results: [{ token: first, value: '10.0.0.0/24', partial: true }] } })
  t.match((await ask(alice, { reveal: 'partial' })).json, { results: [{ value: '10.0.0.0/24', partial: true }] })

  const refusals: [Caller, object, object][] = [
    [support, { purpose: 'support' }, { status: 400, json: { code: 'ticket_required' } }],
    [support, { ticket: 'SUP-1' }, { status: 403, json: { code: 'purpose_not_permitted' } }],
    [support, { ticket: 'my ticket' }, { status: 400, json: { code: 'ticket_invalid' } }],
    [support, { ticket: 7 }, { status: 400, json: { code: 'ticket_invalid' } }],
    [alice, { reveal: 'full' }, { status: 400, json: { code: 'request_invalid' } }],
    [alice, { approvalId: 'x' }, { status: 400, json: { code: 'request_invalid' } }],
    [
      alice,
      { tokens: new Array(4).fill(first) },
      { status: 400, json: { code: 'batch_over_role_limit', detail: 'at most 3 items in one call' } },
    ],
  ]
  for (const [caller, body, expected] of refusals) t.match(await ask(caller, body), expected, JSON.stringify(body))

  const over = await ask(alice, { tokens: [second, third, first] })
  t.match(over.status, 200, 'five values in a minute')
  const values = [{ field: 'ip', value: '10.0.0.9' }]
  const refused = await api.call(alice, 'POST', '/v1/tokenize', { purpose: 'fraud', values })
  t.match(refused, { status: 429, json: { code: 'budget_exceeded', window: 'minute', status: 429 } })
  const seconds = Number(refused.headers.get('retry-after'))
  t.ok(seconds >= 1 && seconds <= 70, `Retry-After: ${seconds}`)
  t.match(refused.headers.get('cache-control'), 'no-store')
  t.match((await api.events()).at(-1), { type: 'tokenize', decision: 'refused', code: 'budget_exceeded', granted: 0 })

  const dora: Caller = { sub: 'dora', roles: ['daily'] }
  t.match(await ask(dora, { tokens: [first, second] }), { status: 200 })
  t.match(await ask(dora, {}), { status: 429, json: { code: 'budget_exceeded', window: 'day' } })
  t.match(await ask(dora, {}), { status: 403, json: { code: 'principal_suspended' } })
  t.notMatch(api.logged(), /10\.0\.0\.|ip_v1_|SUP-1|alice/)
})

t.test('a running API follows its policy file, and keeps the old policy where the new one is wrong', async t => {
  const api = await startVaultApi(t, { policy, originals: 1 })
  const path = api.environment['POLICY_FILE']!
  const body = { purpose: 'fraud', tokens: api.tokens, reveal: 'partial' }
  const ask = (roles: string[], claims: object = {}) =>
    api.call({ sub: `bob-${roles}`, roles, ...claims }, 'POST', '/v1/detokenize', body)
  t.equal((await ask(['auditor'])).status, 403)
  const replace = (text: string) => {
    writeFileSync(`${path}.new`, text)
    renameSync(`${path}.new`, path)
  }
  replace(policy.replace('  investigator:', '  auditor:'))
  while ((await ask(['auditor'])).status !== 200);
  t.equal((await ask(['investigator'])).status, 403, 'in force for the next call')
  // Refusals are folded, so that their event may come later than the call, with the policy of that call.
  const lastPermitted = async () => (await api.events()).findLast(({ decision }) => decision === 'permitted')!
  const { policy: digest } = await lastPermitted()
  t.ok(api.logged().includes(`"event":"policy_loaded","policy":"${digest}"`))
  replace('version: 1\nroles: { auditor: { audit: perhaps } }\n')
  while (!api.logged().includes('policy_refused')) await ask(['investigator'])
  const refusal = api
    .logged()
    .split('\n')
    .filter(line => line.includes('policy_refused'))
  const err = { code: 'policy_invalid', message: 'policy line 2, column 28: audit is neither true nor false' }
  t.match(
    refusal.map(line => JSON.parse(line)),
    [{ level: 'error', policy: digest, err }],
    'one line says why',
  )
  t.equal((await ask(['auditor'])).status, 200)
  t.equal((await lastPermitted())['policy'], digest)
})
