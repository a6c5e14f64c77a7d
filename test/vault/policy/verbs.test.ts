import t from 'tap'
import { signReceipt } from '../../../src/tlog/receipt.ts'
import type { Change, Principal } from '../../../src/vault/admission/ports.ts'
import type { Policy } from '../../../src/vault/policy/policy.ts'
import { createWorld, freshKeys, investigator, MapOriginals, parsePolicy } from '../../helpers/vault/vault-world.ts'

const policy = parsePolicy(`
version: 1
roles:
  lead: { reveal: { "*": full, email: none }, tokenize: [ip, device_id], purposes: [fraud], batch_limit: 4, budget: { per_minute: 10, per_day: 90 } }
  desk: { reveal: { ip: partial, device_id: partial }, purposes: [support], ticket: required }
  guarded: { reveal: { ip: full, email: full }, purposes: ["*"], approval: { above: 2, fields: [email] }, budget: { per_minute: 50 } }
  typist: { tokenize: [email], purposes: ["*"], ticket: required }
`)

const request = { requestId: 'request-1', purpose: 'fraud', atomic: false }
const as = (...roles: string[]): Principal => ({ ...investigator, roles })

function build(options: Parameters<typeof createWorld>[1] = {}, keys = freshKeys()) {
  const world = createWorld(keys, { policy, ...options })
  const [ip, other, third] = world.store('ip', ['203.0.113.7', '203.0.113.8', '2001:db8:7::9']) as [
    string,
    string,
    string,
  ]
  const [device] = world.store('device_id', ['Pixel-7a-0001']) as [string]
  const [email] = world.store('email', ['ada@example.org']) as [string]
  return { ...world, ip, other, third, device, email }
}

t.test('the same token gives all of its value, a part of it or nothing, by role, purpose, ticket and wish', async t => {
  const { detokenize, audit, ip, device } = build()
  const values = async (roles: string[], change: object) => {
    const result = await detokenize(as(...roles), { ...request, tokens: [ip, device, ip], ...change })
    return result.outcome === 'complete' ? result.items : undefined
  }
  t.match(await values(['lead'], {}), [{ value: '203.0.113.7' }, { value: 'Pixel-7a-0001' }, { value: '203.0.113.7' }])
  t.notOk('partial' in audit.events[0]!)
  const parts = [
    { token: ip, field: 'ip', value: '203.0.113.0/24', partial: true },
    { token: device, field: 'device_id', value: '…0001', partial: true },
    { token: ip, field: 'ip', value: '203.0.113.0/24', partial: true },
  ]
  t.strictSame(await values(['desk'], { purpose: 'support', ticket: 'SUP-1' }), parts)
  t.match(audit.events[1], { granted: 3, partial: 3, ticket: 'SUP-1', purpose: 'support', policy: policy.digest })
  const levels = (level: string) => ({
    ip: { requested: 2, granted: 2, level },
    device_id: { requested: 1, granted: 1, level },
  })
  t.strictSame([audit.events[0]!.fields, audit.events[1]!.fields], [levels('full'), levels('partial')])
  t.strictSame(await values(['lead'], { reveal: 'partial' }), parts, 'who wants a part gets a part')
  t.notOk('ticket' in audit.events[2]!)
})

t.test('a call that could give nothing is refused as a whole, and on record, before any look-up', async t => {
  const { detokenize, originals, audit, ip } = build()
  const cases = [
    [['lead'], { purpose: 'support' }, 'purpose_not_permitted'],
    [['desk'], { purpose: 'support' }, 'ticket_required'],
    [['typist'], { ticket: 'SUP-1' }, 'role_not_permitted'],
    [[], {}, 'role_not_permitted'],
  ] as const
  for (const [roles, change, code] of cases) {
    await t.rejects(detokenize(as(...roles), { ...request, tokens: [ip], ...change }), { code }, `${roles}`)
    t.match(audit.events.at(-1), { decision: 'refused', code, requested: 1, granted: 0, policy: policy.digest })
    t.strictSame(audit.events.at(-1)!.fields, { ip: { requested: 1, granted: 0, level: 'none' } })
  }
  await t.rejects(detokenize(as('lead'), { ...request, tokens: [ip], ticket: '203.0.113.7' }), {
    code: 'ticket_invalid',
  })
  t.same(originals.asked, [])
  t.equal(audit.events.length, cases.length)
})

t.test('otherwise each item says why', async t => {
  const { detokenize, ip, email } = build()
  const codes = async (roles: string[], purpose: string, tokens: string[]) => {
    const result = await detokenize(as(...roles), { ...request, purpose, tokens })
    return result.outcome === 'complete' ? result.items.map(item => ('error' in item ? item.error.code : 'given')) : []
  }
  t.strictSame(await codes(['lead'], 'fraud', [ip, email]), ['given', 'field_not_permitted'])
  const mixed = build({
    policy: parsePolicy(`
version: 1
roles:
  one: { reveal: { ip: full }, purposes: [fraud] }
  two: { reveal: { email: full }, purposes: [other] }
  three: { reveal: { device_id: full }, purposes: [fraud], ticket: required }
`),
  })
  const result = await mixed.detokenize(as('one', 'two', 'three'), {
    ...request,
    tokens: [mixed.ip, mixed.email, mixed.device],
  })
  t.match(result, {
    items: [{ value: String }, { error: { code: 'purpose_not_permitted' } }, { error: { code: 'ticket_required' } }],
  })
})

t.test('a role’s batch limit is told with its number', async t => {
  const { detokenize, tokenize, originals, audit, ip } = build()
  const five = new Array(5).fill(ip)
  await t.rejects(detokenize(as('lead'), { ...request, tokens: five }), {
    code: 'batch_over_role_limit',
    message: 'at most 4 items in one call',
  })
  const fields = { ip: { requested: 5, granted: 0, level: 'full' } }
  t.match(audit.events, [{ decision: 'refused', code: 'batch_over_role_limit', requested: 5, granted: 0, fields }])
  t.same(originals.asked, [])
  t.match(await detokenize(as('lead'), { ...request, tokens: five.slice(1) }), { outcome: 'complete' })
  t.match(
    await detokenize(as('lead', 'guarded'), { ...request, tokens: five }),
    { outcome: 'complete' },
    'of the roles that grant the most generous',
  )
  t.match(audit.actions.at(-1)!.charge, { values: 1, perMinute: 50, perDay: undefined }, 'and so with budgets')
  await t.rejects(
    detokenize(as('lead', 'typist'), { ...request, ticket: 'SUP-1', tokens: five }),
    { code: 'batch_over_role_limit' },
    'a role that grants nothing here does not count',
  )
  const values = new Array(5).fill({ field: 'ip', value: '203.0.113.7' })
  await t.rejects(tokenize(as('lead'), { ...request, values }), { code: 'batch_over_role_limit' })
})

t.test('different values that are given are charged, and nothing else', async t => {
  const { detokenize, tokenize, audit, ip, other, email } = build()
  const charge = () => audit.actions.at(-1)!.charge
  await detokenize(as('lead'), { ...request, tokens: [ip, ip, other, email] })
  t.match(charge(), { values: 2, perMinute: 10, perDay: 90, withoutApproval: { asked: 2, allowances: [] } })
  await detokenize(as('lead'), { ...request, tokens: ['nonsense', email] })
  t.match(charge(), { values: 0, perMinute: 10, perDay: 90, withoutApproval: { asked: 0 } })
  await detokenize(as('lead'), { ...request, atomic: true, tokens: [ip, 'nonsense'] })
  t.match(charge(), { values: 0, withoutApproval: { asked: 1 } }, 'a refused call costs nothing')
  t.match(audit.events.at(-1), { code: 'batch_refused', fields: { ip: { requested: 1, granted: 0, level: 'full' } } })
  const values = ['203.0.113.7', '::ffff:203.0.113.7', 'nowhere', '203.0.113.9'].map(value => ({ field: 'ip', value }))
  await tokenize(as('lead'), { ...request, values })
  t.strictSame(charge(), { values: 2, perMinute: 10, perDay: 90 }, 'tokenize is charged, too')
  t.match(audit.events.at(-1), { type: 'tokenize', granted: 3, policy: policy.digest })
})

t.test('a admission that refuses gives nothing, and the event says so', async t => {
  const { detokenize, tokenize, audit, ip } = build()
  const calls: (() => Promise<unknown>)[] = [
    () => detokenize(as('lead'), { ...request, tokens: [ip] }),
    () => detokenize(as('lead'), { ...request, atomic: true, tokens: [ip, 'nonsense'] }),
    () => tokenize(as('lead'), { ...request, values: [{ field: 'ip', value: '203.0.113.7' }] }),
  ]
  for (const call of calls) {
    audit.admission = { allowed: false, code: 'budget_exceeded', window: 'minute', retryAfterSeconds: 17 }
    await t.rejects(call(), { code: 'budget_exceeded', window: 'minute', retryAfterSeconds: 17 })
    t.match(audit.events.at(-1), { decision: 'refused', code: 'budget_exceeded', granted: 0, withheld: {} })
    t.same(audit.events.at(-1)!.tokens, [])
    audit.admission = { allowed: false, code: 'principal_suspended' }
    await t.rejects(call(), { code: 'principal_suspended' })
  }
})

t.test(
  'a call for more values than the threshold, or for a guarded field, asks first and looks nothing up',
  async t => {
    const { detokenize, originals, audit, signer, ip, other, third, email } = build()
    const id = '5b0e7a52-6f1c-4d39-9a40-0d6c5b1f2e77'
    const expiresAt = '2026-01-03T03:04:05.678Z'
    audit.admission = { allowed: true, approvalId: id, approvalState: 'pending', approvalExpiresAt: expiresAt }
    const asked = async (tokens: string[], change: object = {}) => {
      const result = await detokenize(as('guarded'), { ...request, tokens, ...change })
      return { result, change: audit.actions.at(-1)!.change as Extract<Change, { kind: 'request_approval' }> }
    }
    const { result, change } = await asked([ip, other, third, ip, 'nonsense'], { ticket: 'SEC-7' })
    t.match(result, {
      outcome: 'approval_required',
      approval: { id, state: 'pending', expiresAt },
      receipt: signReceipt(signer, { sequence: 0, leafHash: new Uint8Array(32) }),
    })
    t.match(change, { kind: 'request_approval', reveal: 'full', values: 3, fields: { ip: 3 }, ticket: 'SEC-7' })
    t.match(change.id, /^[0-9a-f-]{36}$/)
    t.match(change.digest, /^[\w-]{22}$/)
    t.match(audit.actions[0]!.charge, { values: 0, withoutApproval: { asked: 3 } })
    const fields = { ip: { requested: 4, granted: 0, level: 'full' } }
    t.match(audit.events[0], { decision: 'pending', approval: id, requested: 5, granted: 0, fields, withheld: {} })
    t.same(audit.events[0]!.tokens, [])
    t.match((await asked([email, ip])).change, { values: 2, fields: { email: 1, ip: 1 } })
    t.same(originals.asked, [])
    audit.admission = { allowed: true }
    t.match(
      (await asked([ip, other, ip])).result,
      { outcome: 'complete' },
      'as many values as the threshold need nobody',
    )
    t.match(audit.actions.at(-1)!.charge, { values: 2 })
  },
)

t.test('an approval is for exactly the call that was asked for', async t => {
  const originals = new MapOriginals()
  const keys = freshKeys()
  const { audit, detokenize, ip, other, third, email } = build({ originals }, keys)
  const digestOf = async (tokens: string[], change: object = {}, caller: Partial<Principal> = {}) => {
    audit.admission = { allowed: true, approvalId: 'x', approvalState: 'pending', approvalExpiresAt: 'y' }
    await detokenize({ ...as('guarded'), ...caller }, { ...request, tokens, ...change })
    return (audit.actions.at(-1)!.change as Extract<Change, { kind: 'request_approval' }>).digest
  }
  const tokens = [ip, other, third]
  const digest = await digestOf(tokens)
  t.equal(await digestOf([third, ip, other, ip]), digest, 'in any order, repeats or not')
  t.equal(await digestOf(tokens, { atomic: true }), digest)
  const anew = {
    client: 'desk',
    actor: { subject: 'desk-backend' },
    jwtId: 'of the next hour',
    channel: 'cli',
  } as const
  t.equal(await digestOf(tokens, {}, anew), digest, 'whatever JWT and application the caller comes with')
  const others = [
    await digestOf([...tokens, email]),
    await digestOf([ip, other, email]),
    await digestOf([...tokens, 'nonsense']),
    await digestOf([...tokens, '']),
    await digestOf(tokens, { purpose: 'audit' }),
    await digestOf(tokens, { ticket: 'SEC-7' }),
    await digestOf(tokens, { ticket: 'SEC-8' }),
    await digestOf(tokens, { reveal: 'partial' }),
  ]
  t.equal(new Set([digest, ...others]).size, others.length + 1, 'and every other call has another digest')

  audit.admission = { allowed: true }
  const approvalId = '5b0e7a52-6f1c-4d39-9a40-0d6c5b1f2e77'
  const used = await detokenize(as('guarded'), { ...request, tokens, approvalId })
  t.match(used, { outcome: 'complete', items: [{ value: '203.0.113.7' }, {}, {}] })
  t.match(audit.actions.at(-1), { change: { kind: 'use_approval', id: approvalId, digest }, charge: { values: 3 } })
  t.match(audit.events.at(-1), { decision: 'permitted', approval: approvalId, granted: 3 })

  await detokenize(as('guarded'), { ...request, tokens: [ip], approvalId })
  t.match(
    audit.actions.at(-1)!.change,
    { kind: 'use_approval', id: approvalId },
    'one that is not needed is not ignored',
  )
  await detokenize(as('guarded'), { ...request, tokens: [...tokens, 'nonsense'], atomic: true, approvalId })
  t.match(audit.actions.at(-1)!.change, { kind: 'use_approval' }, 'what failed is told only to who had the approval')

  audit.admission = { allowed: false, code: 'approval_unusable' }
  await t.rejects(detokenize(as('guarded'), { ...request, tokens, approvalId }), { code: 'approval_unusable' })
  t.match(audit.events.at(-1), { decision: 'refused', code: 'approval_unusable', approval: approvalId, granted: 0 })
  await t.rejects(detokenize(as('guarded'), { ...request, tokens, approvalId: 'x' }), { code: 'approval_unknown' })

  const generous = parsePolicy(
    'version: 1\nroles: { guarded: { reveal: { ip: partial }, purposes: ["*"], approval: { above: 2 } } }',
  )
  const before = build({ originals, policy: generous }, keys)
  before.audit.admission = { allowed: true, approvalId: 'x', approvalState: 'pending', approvalExpiresAt: 'y' }
  await before.detokenize(as('guarded'), { ...request, tokens })
  t.match(before.audit.actions[0]!.change, { reveal: 'partial' })
  t.not(
    (before.audit.actions[0]!.change as { digest: string }).digest,
    digest,
    'an approved part never becomes the whole',
  )
})

t.test('every kind of refused token costs the same look-up and the same evidence', async t => {
  const world = build()
  const { detokenize, originals, audit, ip, email } = world
  const unknown = `ip_v1_${Buffer.alloc(27, 1).toString('base64url')}`
  const kinds = { unknown, malformed: 'nonsense', 'not permitted': email, 'unknown field': ip.replace(/^ip/, 'phone') }
  for (const [kind, token] of Object.entries(kinds)) {
    originals.asked.length = 0
    const events = audit.events.length
    await detokenize(as('lead'), { ...request, tokens: [token] })
    t.equal(originals.asked.length, 1, `${kind}: one id is looked up`)
    t.equal(audit.events.length - events, 1, `${kind}: one commit`)
  }
})

t.test('a call is decided by one policy from beginning to end', async t => {
  const policies: Policy[] = [policy, parsePolicy('version: 1\nroles: { lead: {} }')]
  const current = { next: 0 }
  const world = createWorld(freshKeys(), { policy: () => policies[Math.min(current.next++, 1)]! })
  const [ip] = world.store('ip', ['203.0.113.7']) as [string]
  t.match(await world.detokenize(as('lead'), { ...request, tokens: [ip] }), { outcome: 'complete' })
  t.equal(world.audit.events[0]!.policy, policy.digest, 'and the event names it')
  await t.rejects(world.detokenize(as('lead'), { ...request, tokens: [ip] }), { code: 'role_not_permitted' })
  t.equal(world.audit.events[1]!.policy, policies[1]!.digest)
})

t.test('an approval does not stretch: a field that was to be shown in part stays so', async t => {
  const narrow = 'mix: { reveal: { ip: full, device_id: partial }, purposes: [fraud], approval: { fields: ["*"] } }'
  const wide = 'wide: { reveal: { device_id: full }, purposes: [fraud], approval: { fields: ["*"] } }'
  const { detokenize, audit, ip, device } = build({
    policy: parsePolicy(`version: 1\nroles:\n  ${narrow}\n  ${wide}\n`),
  })
  const digestOf = async (...roles: string[]) => {
    audit.admission = { allowed: true, approvalId: 'x', approvalState: 'pending', approvalExpiresAt: 'y' }
    await detokenize(as(...roles), { ...request, tokens: [ip, device] })
    return (audit.actions.at(-1)!.change as Extract<Change, { kind: 'request_approval' }>).digest
  }
  t.not(await digestOf('mix'), await digestOf('mix', 'wide'))
})
