import t from 'tap'
import { idempotencyHeaders } from '../../../src/http/idempotency/header.ts'
import { guardedOperations } from '../../../src/http/operations.ts'
import type { Caller } from '../../helpers/http/vault-api.ts'
import { startVaultApi } from '../../helpers/http/vault-api.ts'

const policy = `
version: 1
roles:
  investigator: { reveal: { "*": full }, purposes: ["*"], budget: { per_day: 1 } }
  operator: { quarantine: true }
  approver: { approve: true }
  administrator: { suspensions: true }
  privacy: { people: true }
  security: { honey: true }
`
const id = '2b0a4d0e-6f1c-4b9a-8d3e-5c6d7e8f9a0b'
const entry = 'a'.repeat(32)

/** A call of each operation that takes an Idempotency-Key, and the capability that it takes. */
const calls: Record<string, { readonly path: string; readonly body?: object; readonly role: string }> = {
  decideApproval: { path: `/v1/approvals/${id}/decision`, body: { decision: 'approve' }, role: 'approver' },
  liftSuspension: { path: '/v1/suspensions/lift', body: { issuer: 'a', subject: 'b' }, role: 'administrator' },
  redriveQuarantined: { path: `/v1/quarantine/${entry}/redrive`, role: 'operator' },
  redriveQuarantine: { path: '/v1/quarantine/redrive', body: {}, role: 'operator' },
  retireHoney: { path: `/v1/honey/${id}/retire`, role: 'security' },
  holdPerson: {
    path: '/v1/people/hold',
    body: { userId: 'u', until: '2099-12-31', reason: 'litigation' },
    role: 'privacy',
  },
  releasePerson: { path: '/v1/people/release', body: { userId: 'u' }, role: 'privacy' },
  discardQuarantined: { path: `/v1/quarantine/${entry}/discard`, role: 'operator' },
}

t.test('who may not do it claims no key and is told nothing of one, and the refusal is in the evidence', async t => {
  const api = await startVaultApi(t, { policy, originals: 3 })
  const admin = await api.vault.connect()
  const rows = async () => (await admin.query('SELECT * FROM pii_vault.idempotency ORDER BY key')).rows
  const lastEvent = async () => (await api.events()).at(-1)
  const ask = (caller: Caller, { path, body }: { path: string; body?: object }, key = 'key-1') =>
    api.call(caller, 'POST', path, body, { 'idempotency-key': key })

  const keyed = guardedOperations.filter(({ schema }) => schema.headers === idempotencyHeaders)
  t.strictSame(
    keyed.map(({ schema }) => (schema as { operationId?: string }).operationId).sort(),
    Object.keys(calls).sort(),
    'every operation with a key is here',
  )

  for (const [name, call] of Object.entries(calls)) {
    await t.test(name, async t => {
      const others = ['operator', 'approver', 'administrator'].filter(role => role !== call.role)
      for (const roles of [[], ['investigator'], others]) {
        const sub = `casey-${name}-${roles.join('-')}`
        const reply = await ask({ sub, roles }, call)
        t.match(reply, { status: 403, json: { code: 'role_not_permitted' } }, String(roles))
        const event = (await api.events()).find(({ subject }) => subject === sub)
        t.match(event, { decision: 'refused', code: 'role_not_permitted' }, 'the refusal is an event')
      }
      t.strictSame(await rows(), [])
    })
  }

  const casey = { sub: 'casey', roles: ['operator', 'investigator'] }
  const redrive = calls['redriveQuarantine']!
  const other = { ...redrive, body: { reason: 'ip_invalid' } }
  t.match(await ask(casey, redrive), { status: 200 })
  t.equal((await ask(casey, redrive)).headers.get('idempotency-replayed'), 'true')
  t.match(await ask(casey, other), { status: 422, json: { code: 'idempotency_key_reused' } })
  const kept = await rows()

  t.test('a caller that lost the role is refused, whatever was kept for it', async t => {
    const without = { ...casey, roles: ['investigator'] }
    for (const [call, key] of [
      [redrive, 'key-1'],
      [other, 'key-1'],
      [redrive, 'key-2'],
    ] as const) {
      const reply = await ask(without, call, key)
      t.match(reply, { status: 403, json: { code: 'role_not_permitted' } })
      t.equal(reply.headers.get('idempotency-replayed'), null)
      t.match(await lastEvent(), { subject: 'casey', type: 'quarantine_redrive', code: 'role_not_permitted' })
    }
    t.strictSame(await rows(), kept)
  })

  t.test('so is one that was suspended', async t => {
    const purpose = 'fraud_investigation'
    await api.call(casey, 'POST', '/v1/detokenize', { purpose, tokens: api.tokens.slice(0, 2) })
    for (const [call, key] of [
      [redrive, 'key-1'],
      [other, 'key-1'],
      [redrive, 'key-2'],
    ] as const) {
      const reply = await ask(casey, call, key)
      t.match(reply, { status: 403, json: { code: 'principal_suspended' } })
      t.equal(reply.headers.get('idempotency-replayed'), null)
      t.match(await lastEvent(), { subject: 'casey', type: 'quarantine_redrive', code: 'principal_suspended' })
    }
    t.strictSame(await rows(), kept)
  })
})
