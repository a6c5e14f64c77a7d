import t from 'tap'
import { type Caller, type Reply, startVaultApi } from '../../helpers/http/vault-api.ts'

const policy = `version: 1
roles:
  investigator:
    reveal: { "*": full }
    tokenize: [ip]
    purposes: [fraud]
    batch_limit: 8
    budget: { per_minute: 6, per_day: 9 }
    approval: { above: 4, window: 1h }
  hurried: { reveal: { ip: full }, purposes: [fraud], budget: { per_minute: 2 } }
  thief: { reveal: { ip: full }, purposes: [fraud], budget: { per_day: 2 } }
  guarded: { reveal: { ip: partial, device_id: full }, purposes: [fraud], approval: { fields: [device_id] } }
  support: { reveal: { ip: partial }, purposes: [support], ticket: required }
  approver: { approve: true }
  chief: { approve: true }
`
const unknown = 'device_id_v1_m3yTq9Zb1uWfJ0aXo7sPcQ'
const investigator = (sub: string): Caller => ({ sub, roles: ['investigator'] })

async function startWorld() {
  const api = await startVaultApi(t, { policy, originals: 12 })
  const owner = await api.vault.connect()
  const ask = (caller: Caller, body: object) =>
    api.call(caller, 'POST', '/v1/detokenize', { purpose: 'fraud', ...body })
  const preview = async (caller: Caller, body: object) => {
    const reply = await ask(caller, { dryRun: true, ...body })
    t.equal(reply.status, 200)
    return reply.json['preview'] as Record<string, unknown>
  }
  /** What a preview must leave as it is. */
  const kept = async () => {
    const { rows } = await owner.query(`SELECT
      (SELECT coalesce(sum("values"), 0)::int FROM pii_vault.spending) AS spent,
      (SELECT coalesce(sum("values"), 0)::int FROM pii_vault.taken_without_approval) AS taken,
      (SELECT count(*)::int FROM pii_vault.approvals) AS approvals,
      (SELECT count(*)::int FROM pii_vault.suspensions) AS suspensions`)
    return rows[0]
  }
  return { ...api, owner, ask, preview, kept }
}

/** One vault for all tests of this file: each has callers of its own. */
const world = await startWorld()
const { tokens, ask, preview, kept, owner } = world

/** What a call was answered, in the words of a preview. */
function answerOf({ status, json }: Reply): unknown {
  if (status === 200) return 'values'
  return status === 202 ? 'approval_required' : json['code']
}

t.test('a preview says what the call is answered, and what it gives and costs', async t => {
  const alice = investigator('alice')
  const [a, b] = tokens as [string, string]
  const mixed = [a, b, a, unknown, 'nonsense', 'email_v1_m3yTq9Zb1uWfJ0aXo7sPcQ']
  t.strictSame(await preview(alice, { tokens: mixed }), {
    answer: 'values',
    fields: [
      { field: 'ip', level: 'full', values: 2 },
      { field: 'device_id', level: 'full', values: 0 },
    ],
    withheld: [
      { code: 'token_unknown', items: 1 },
      { code: 'token_malformed', items: 1 },
      { code: 'field_unknown', items: 1 },
    ],
    budget: { values: 2, minute: { limit: 6, left: 6 }, day: { limit: 9, left: 9 } },
    withoutApproval: [{ above: 4, windowSeconds: 3600, left: 4 }],
  })
  t.strictSame(await kept(), { spent: 0, taken: 0, approvals: 0, suspensions: 0 })
  const { type, mode, decision, requested, granted, fields, tokens: digests, withheld } = (await world.events())[0]!
  t.strictSame(
    { type, mode, decision, requested, granted, fields, digests, withheld },
    {
      ...{ type: 'detokenize', mode: 'preview', decision: 'permitted', requested: 6, granted: 0 },
      fields: {
        ip: { requested: 3, granted: 0, level: 'full' },
        device_id: { requested: 1, granted: 0, level: 'full' },
      },
      ...{ digests: [], withheld: { token_unknown: 1, token_malformed: 1, field_unknown: 1 } },
    },
  )
  t.match((await ask(alice, { tokens: mixed })).json, { results: [{ value: '10.0.0.0' }, {}, {}, {}, {}, {}] })
  t.match(await preview(alice, { tokens: [a] }), {
    budget: { values: 1, minute: { left: 4 }, day: { left: 7 } },
    withoutApproval: [{ left: 2 }],
  })

  const calls: [Caller, object][] = [
    [investigator('bea'), { tokens: tokens.slice(0, 4) }],
    [investigator('cid'), { tokens: tokens.slice(0, 5) }],
    [investigator('cid'), { tokens: [a, unknown], atomic: true }],
    [investigator('cid'), { tokens: [...tokens.slice(0, 4), unknown], atomic: true }],
    [investigator('cid'), { tokens: [a, b], atomic: true, reveal: 'partial' }],
    [{ sub: 'hugo', roles: ['hurried'] }, { tokens: tokens.slice(0, 2) }],
    [{ sub: 'hugo', roles: ['hurried'] }, { tokens: tokens.slice(0, 1) }],
    [{ sub: 'hugo', roles: ['hurried'] }, { tokens: [unknown] }],
    [{ sub: 'gus', roles: ['guarded'] }, { tokens: [a] }],
    [{ sub: 'gus', roles: ['guarded'] }, { tokens: [a, unknown] }],
    [{ sub: 'tina', roles: ['thief'] }, { tokens: tokens.slice(0, 3) }],
  ]
  for (const [caller, body] of calls) {
    const before = await kept()
    const previewed = await preview(caller, body)
    t.strictSame(await kept(), before, 'nothing is charged, requested or suspended')
    const reply = await ask(caller, body)
    t.equal(previewed['answer'], answerOf(reply), `${caller.sub}: ${JSON.stringify(body)}`)
    const results: { token: string; value?: string }[] = reply.json['results'] ?? []
    const given = new Set(results.flatMap(({ token, value }) => (value === undefined ? [] : token))).size
    if (reply.status === 200) t.equal((previewed['budget'] as { values: number }).values, given)
  }
})

t.test('a budget that does not hold the call is named, and nobody is suspended for asking', async t => {
  const [hanna, tom] = [
    { sub: 'hanna', roles: ['hurried'] },
    { sub: 'tom', roles: ['thief'] },
  ] as const
  await ask(hanna, { tokens: [tokens[0]] })
  const { budget } = (await preview(hanna, { tokens: tokens.slice(0, 2) })) as { budget: Record<string, unknown> }
  const { retryAfterSeconds, ...rest } = budget
  t.strictSame(rest, { values: 2, minute: { limit: 2, left: 1 }, exceeds: 'minute' })
  const reply = await ask(hanna, { tokens: tokens.slice(0, 2) })
  const told = Number(reply.headers.get('retry-after'))
  t.ok(Number(retryAfterSeconds) - told >= 0 && Number(retryAfterSeconds) - told <= 10, `${retryAfterSeconds}, ${told}`)
  const over = { tokens: tokens.slice(0, 3) }
  t.match(await preview(tom, over), {
    answer: 'budget_exceeded',
    budget: { exceeds: 'day', day: { limit: 2, left: 2 } },
  })
  t.match(await preview(tom, over), { answer: 'budget_exceeded' }, 'and again')
  t.equal((await ask(tom, over)).status, 429)
  t.match(await ask(tom, { ...over, dryRun: true }), { status: 403, json: { code: 'principal_suspended' } })
})

t.test('who has to approve is told, and which request of the same call is open', async t => {
  const dora = investigator('dora')
  const { approvals } = await kept()
  const many = { tokens: tokens.slice(0, 5), ticket: 'SEC-1' }
  const needed = {
    fields: [],
    withoutApproval: { above: 4, windowSeconds: 3600, left: 4 },
    approvers: ['approver', 'chief'],
  }
  t.match(await preview(dora, many), { answer: 'approval_required', budget: { values: 5 } })
  t.strictSame((await preview(dora, many))['approval'], needed)
  const approval = (await ask(dora, many)).json['approval']
  const { id, expiresAt } = approval
  t.strictSame((await preview(dora, many))['approval'], { ...needed, request: { id, state: 'pending', expiresAt } })
  t.strictSame((await preview(dora, { ...many, ticket: 'SEC-2' }))['approval'], needed, 'another call has none')
  t.strictSame((await preview(investigator('bob'), many))['approval'], needed, 'nor has another caller')
  const decided = await world.call({ sub: 'robin', roles: ['approver'] }, 'POST', `/v1/approvals/${id}/decision`, {
    decision: 'approve',
  })
  t.equal(decided.status, 200)
  const again = await preview(dora, { ...many, tokens: many.tokens.toReversed() })
  t.match(again, { answer: 'approval_required', approval: { request: { id, state: 'approved' } } })
  t.match(await ask(dora, { ...many, dryRun: true, approvalId: id }), {
    status: 400,
    json: { code: 'request_invalid', detail: 'a preview takes no approvalId' },
  })
  t.equal((await ask(dora, { ...many, approvalId: id })).status, 200, 'a preview did not use it up')
  t.strictSame((await preview(dora, many))['approval'], needed, 'the call did')

  const gus = { sub: 'gina', roles: ['guarded'] }
  const device = await preview(gus, { tokens: [tokens[0], unknown, unknown] })
  t.match(device, {
    answer: 'approval_required',
    fields: [
      { field: 'ip', level: 'partial', values: 1 },
      { field: 'device_id', level: 'full', values: 1 },
    ],
    withheld: [],
    budget: { values: 2 },
    withoutApproval: [],
  })
  const told = JSON.stringify(await preview(gus, { tokens: ['ip_v1_m3yTq9Zb1uWfJ0aXo7sPcQ', unknown, unknown] }))
  t.equal(told, JSON.stringify(device), 'before an approval nobody learns which tokens there are')
  t.strictSame(device['approval'], { fields: ['device_id'], approvers: ['approver', 'chief'] })
  t.equal((await kept()).approvals, approvals + 1, 'only the call itself asked for one')
})

t.test('what refuses the call as a whole refuses its preview, and is on record as one', async t => {
  const [token] = tokens
  const before = (await world.events()).length
  const sam = { sub: 'sam', roles: ['support'] }
  const refusals: [Caller, object, string][] = [
    [{ sub: 'ann', roles: ['approver'] }, { tokens: [token] }, 'role_not_permitted'],
    [investigator('eve'), { tokens: [token], purpose: 'curiosity' }, 'purpose_not_permitted'],
    [investigator('eve'), { tokens: Array(9).fill(token) }, 'batch_over_role_limit'],
    [sam, { tokens: [token], purpose: 'support' }, 'ticket_required'],
  ]
  for (const [caller, body, code] of refusals) {
    // The call first: what is counted as its repeat must not be a preview.
    t.equal((await ask(caller, body)).json['code'], code)
    t.equal((await ask(caller, { ...body, dryRun: true })).json['code'], code)
  }
  const recorded = (await world.events()).slice(before).map(({ code, mode, count }) => ({ code, mode, count }))
  t.strictSame(
    recorded,
    refusals.flatMap(([, , code]) => [
      { code, mode: undefined, count: undefined },
      { code, mode: 'preview', count: undefined },
    ]),
  )
  for (const body of [{ tokens: [] }, { tokens: [token], purpose: '' }, { tokens: [token], dryRun: 'yes' }])
    t.equal((await ask(sam, { dryRun: true, ...body })).status, 400)
  t.match(await ask(investigator('eve'), { tokens: [token], dryRun: false }), {
    status: 200,
    json: { results: [{ value: '10.0.0.0' }] },
  })
  const device = await preview(sam, { tokens: [token, unknown, token], purpose: 'support', ticket: 'SUP-1' })
  t.match(device, {
    fields: [
      { field: 'ip', level: 'partial', values: 1 },
      { field: 'device_id', level: 'none', values: 0 },
    ],
    withheld: [{ code: 'field_not_permitted', items: 1 }],
  })
})

t.test('no value and nothing sealed leaves by a preview: it works on originals that cannot be opened', async t => {
  await owner.query(`UPDATE pii_vault.originals SET sealed = sha256(sealed)`)
  const eve = investigator('eve')
  const reply = await ask(eve, { tokens: tokens.slice(0, 3), dryRun: true })
  t.match(reply.json, { preview: { fields: [{ field: 'ip', values: 3 }] }, results: [] })
  t.strictSame(Object.keys(reply.json).sort(), ['preview', 'receipt', 'results'])
  t.match((await ask(eve, { tokens: [tokens[0]] })).json, {
    results: [{ error: { code: 'original_not_authentic' } }],
  })
  t.notMatch(JSON.stringify([reply.json, world.logged(), await world.events()]), /10\.0\.0\.\d/)
})
