import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fetchCalmly } from '../../helpers/http/http-app.ts'
import { createIssuerKey, issuer, signJwt, startJwksServer } from '../../helpers/http/jwks-server.ts'
import { type Caller, type Reply, startVaultApi } from '../../helpers/http/vault-api.ts'

const policy = `
version: 1
roles:
  investigator:
    reveal: { "*": full }
    tokenize: ["*"]
    purposes: ["*"]
    approval: { above: 2 }
  approver: { approve: true }
  auditor: { audit: true }
`
const purpose = 'fraud_investigation'
const casey: Caller = { sub: 'casey', roles: ['investigator'] }
const jules: Caller = { sub: 'jules', roles: ['investigator'] }
const robin: Caller = { sub: 'robin', roles: ['approver'] }
const sam: Caller = { sub: 'sam', roles: ['approver'] }

async function build(t: Test, environment = {}) {
  const api = await startVaultApi(t, { policy, originals: 8, environment })
  const { call, tokens } = api
  const asked = { purpose, tokens: tokens.slice(0, 3) }
  const ask = (caller = casey, body: object = asked) => call(caller, 'POST', '/v1/detokenize', body)
  const decide = (caller: Caller, id: string, decision = 'approve') =>
    call(caller, 'POST', `/v1/approvals/${id}/decision`, { decision })
  const show = (caller: Caller, id: string) => call(caller, 'GET', `/v1/approvals/${id}`)
  /** Asks, and has robin approve. */
  const approved = async (body: object = asked) => {
    const { id } = (await ask(casey, body)).json['approval']
    t.match(await decide(robin, id), { status: 200, json: { id, state: 'approved' } })
    return id as string
  }
  const admin = await api.vault.connect()
  const runOut = (id: string) =>
    admin.query(`UPDATE pii_vault.approvals SET expires_at = now() - interval '1 second' WHERE id = $1`, [id])
  return { ...api, asked, ask, decide, show, approved, runOut }
}

t.test('calls that are split ask for the approval that one call needs, and are told what is left', async t => {
  const { ask, approved, tokens, events, asked } = await build(t)
  const some = (from: number, to: number) => ({ purpose, tokens: tokens.slice(from, to) })
  const answers = await Promise.all([ask(casey, some(0, 2)), ask(casey, some(2, 4))])
  t.strictSame(answers.map(({ status }) => status).sort(), [200, 202], 'of two at once one passes')
  const waiting = answers.find(({ status }) => status === 202)!
  const withoutApproval = { above: 2, windowSeconds: 86_400, left: 0 }
  t.match(waiting.json, { approval: { state: 'pending', withoutApproval }, receipt: { sequence: Number } })
  t.notMatch(JSON.stringify(waiting.json), /10\.0\.0/)
  t.match(await ask(casey, { purpose: 'other_purpose', tokens: tokens.slice(7) }), { status: 202 }, 'for any purpose')
  t.match(await ask(casey, { ...some(4, 5), atomic: true, tokens: [tokens[4], 'x'] }), { status: 202 })
  t.match(await ask(casey, { purpose, tokens: ['x'] }), { status: 200 }, 'what can give nothing needs nobody')
  t.match(await ask(jules, some(0, 1)), { status: 200 }, 'another principal')
  const approvalId = await approved()
  t.match(await ask(casey, { ...asked, approvalId }), { status: 200 })
  t.match(await ask(casey, some(5, 6)), { status: 202, json: { approval: { withoutApproval } } })
  const pending = (await events()).filter(({ decision }) => decision === 'pending')
  t.ok(
    pending.length === 5 &&
      pending.every(event => event['granted'] === 0 && (event['tokens'] as string[]).length === 0),
  )
})

const unusable = { status: 403, json: { code: 'approval_unusable' } }
const settled = { status: 409, json: { code: 'approval_settled' } }
const unknown = { status: 404, json: { code: 'approval_unknown' } }

t.test('what another person approved is given once, and every step is evidence', async t => {
  const { asked, ask, decide, show, events, tokens } = await build(t)
  t.match(await ask(casey, { purpose, tokens: tokens.slice(0, 2) }), { status: 200 }, 'below the threshold')
  const first = await ask()
  t.match(first, { status: 202, json: { approval: { state: 'pending' }, receipt: { sequence: 1 } } })
  t.equal(first.json['results'], undefined)
  const { id } = first.json['approval']
  t.match(await ask(casey, { ...asked, approvalId: id }), unusable, 'nobody has approved yet')
  const pending = await show(casey, id)
  t.match(pending, {
    status: 200,
    json: { id, state: 'pending', subject: 'casey', purpose, reveal: 'full', values: 3, fields: { ip: 3 } },
  })
  t.match(await decide(robin, id), { status: 200, json: { id, state: 'approved' } })
  const approved = (await show(casey, id)).json
  t.match(approved, { state: 'approved', decidedBy: 'robin' })
  t.equal(Date.parse(pending.json['expiresAt']) - Date.parse(pending.json['createdAt']), 86_400_000, 'a day to decide')
  t.equal(Date.parse(approved['expiresAt']) - Date.parse(approved['decidedAt']), 900_000, '15 minutes to use it')
  const again = await ask()
  t.match(
    again,
    { status: 202, json: { approval: { id, state: 'approved' } } },
    'asked again, the same approval is named',
  )
  const used = await ask(casey, { ...asked, approvalId: id })
  t.match(used, {
    status: 200,
    json: { results: [{ value: '10.0.0.0' }, { value: '10.0.0.1' }, { value: '10.0.0.2' }] },
  })
  t.match(await ask(casey, { ...asked, approvalId: id }), unusable, 'once')
  t.match((await show(robin, id)).json, { state: 'used' })
  const steps = (await events()).map(({ type, subject, decision, code, granted, approval, concerns }) => ({
    ...{ type, subject, decision, granted },
    ...(code ? { code } : {}),
    ...(approval ? { approval } : {}),
    ...(concerns ? { concerns } : {}),
  }))
  const own = { subject: 'casey', approval: id }
  const concerns = { issuer, subject: 'casey' }
  t.strictSame(steps, [
    { type: 'detokenize', subject: 'casey', decision: 'permitted', granted: 2 },
    { type: 'detokenize', decision: 'pending', granted: 0, ...own },
    { type: 'detokenize', decision: 'refused', granted: 0, code: 'approval_unusable', ...own },
    { type: 'approval_show', decision: 'permitted', granted: 0, ...own, concerns },
    { type: 'approval_approve', decision: 'permitted', granted: 0, ...own, subject: 'robin', concerns },
    { type: 'approval_show', decision: 'permitted', granted: 0, ...own, concerns },
    { type: 'detokenize', decision: 'pending', granted: 0, ...own },
    { type: 'detokenize', decision: 'permitted', granted: 3, ...own },
    { type: 'approval_show', decision: 'permitted', granted: 0, ...own, subject: 'robin', concerns },
    // The second of its kind in a minute is told with the others of its kind.
    { type: 'detokenize', decision: 'refused', granted: 0, code: 'approval_unusable', ...own },
  ] as never)
  t.notMatch(JSON.stringify(await events()), /10\.0\.0\.|ip_v1_/)
})

t.test('nobody approves themselves, also not with a second token or with both roles in one', async t => {
  const { ask, decide, show, key, origin, events, vault } = await build(t)
  const { id } = (await ask()).json['approval']
  const self = { status: 403, json: { code: 'approval_self' } }
  t.match(await decide({ sub: 'casey', roles: ['approver'] }, id), self)
  t.match(await decide({ sub: 'casey', roles: ['investigator', 'approver'] }, id), self)
  t.match(await decide({ sub: 'casey', roles: ['approver'] }, id, 'refuse'), self)
  t.match(await decide(casey, id), { status: 403, json: { code: 'role_not_permitted' } })
  const foreign = await signJwt(key, { sub: 'robin', roles: ['approver'], iss: 'https://other.test' })
  const reply = await fetchCalmly(`${origin}/v1/approvals/${id}/decision`, {
    method: 'POST',
    headers: { authorization: `Bearer ${foreign}`, 'content-type': 'application/json' },
    body: JSON.stringify({ decision: 'approve' }),
  })
  t.equal(reply.status, 401, 'another issuer')
  t.match((await show(casey, id)).json, { state: 'pending' })
  const admin = await vault.connect()
  await admin.query(`UPDATE pii_vault.approvals SET issuer = 'https://former.test' WHERE id = $1`, [id])
  t.match(await decide({ sub: 'casey', roles: ['approver'] }, id), self, 'whatever the columns for people say')
  t.match(await show(casey, id), unknown, 'to look at it takes the same issuer, too')
  const refusals = (await events()).filter(({ type }) => /approval_(approve|refuse)/.test(String(type)))
  t.strictSame(
    refusals.map(({ type, code, count }) => `${type} ${code} ${count ?? 1}`),
    [
      'approval_approve approval_self 1',
      'approval_refuse approval_self 1',
      'approval_approve role_not_permitted 1',
      'approval_approve approval_self 2',
    ],
  )
})

t.test('equal subjects of two issuers are two people, unless one is known as the other', async t => {
  const issuers = await Promise.all(
    ['a', 'b', 'c'].map(async name => {
      const key = await createIssuerKey('key-1')
      const { url } = await startJwksServer(t, key.publicJwk)
      return { key, section: { issuer: `https://${name}.test`, jwks_url: url, audiences: ['tokenvault'] } }
    }),
  )
  const [a, b, c] = issuers.map(({ key, section }) => ({ key, iss: section.issuer }))
  const sections = issuers.map(({ section }) => section)
  const file = join(t.testdir({}), 'issuers.json')
  writeFileSync(
    file,
    JSON.stringify({ version: 1, issuers: [...sections.slice(0, 2), { ...sections[2], known_as: 'https://a.test' }] }),
  )
  const { origin, tokens, events } = await startVaultApi(t, {
    policy,
    originals: 4,
    environment: { JWT_ISSUERS_FILE: file, JWT_ISSUER: '', JWT_AUDIENCE: '', JWKS_URL: '' },
  })
  const as = async (of: typeof a, roles: string[], path: string, body: object) => {
    const jwt = await signJwt(of!.key, { iss: of!.iss, sub: 'casey', roles })
    const reply = await fetchCalmly(`${origin}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${jwt}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return { status: reply.status, json: (await reply.json()) as Record<string, { id: string }> }
  }
  const take = (of: typeof a, from: number, to: number) =>
    as(of, ['investigator'], '/v1/detokenize', { purpose, tokens: tokens.slice(from, to) })
  const approve = (of: typeof a, id: string) =>
    as(of, ['approver'], `/v1/approvals/${id}/decision`, { decision: 'approve' })
  t.match(await take(a, 0, 2), { status: 200 })
  t.match(await take(b, 0, 2), { status: 200 }, 'what the other took is another’s')
  const { status, json } = await take(c, 0, 1)
  t.equal(status, 202, 'what a took is taken by c, too')
  const { id } = json['approval']!
  t.match(await approve(a, id), { status: 403, json: { code: 'approval_self' } })
  t.match(await approve(c, id), { status: 403, json: { code: 'approval_self' } })
  t.match(await approve(b, id), { status: 200, json: { state: 'approved' } })
  t.strictSame([...new Set((await events()).map(event => event['issuer']))], ['https://a.test', 'https://b.test'])
})

t.test('a grant is for exactly this principal and this call', async t => {
  const { asked, ask, approved, tokens, show } = await build(t)
  const body = { ...asked, ticket: 'SEC-1' }
  const approvalId = await approved(body)
  const others: [string, Caller, object][] = [
    ['another principal', jules, body],
    ['one token more', casey, { ...body, tokens: tokens.slice(0, 4) }],
    ['one token less', casey, { ...body, tokens: tokens.slice(0, 2) }],
    ['one token exchanged', casey, { ...body, tokens: [...tokens.slice(0, 2), tokens[5]] }],
    ['one that is none more', casey, { ...body, tokens: [...asked.tokens, 'nonsense'] }],
    ['another purpose', casey, { ...body, purpose: 'account_recovery' }],
    ['another ticket', casey, { ...body, ticket: 'SEC-2' }],
    ['no ticket', casey, asked],
    ['a part only', casey, { ...body, reveal: 'partial' }],
  ]
  for (const [title, caller, call] of others) t.match(await ask(caller, { ...call, approvalId }), unusable, title)
  t.match((await show(casey, approvalId)).json, { state: 'approved' }, 'none of them used it up')
  const reordered = { ...body, tokens: [...asked.tokens, ...asked.tokens].reverse(), approvalId }
  t.match(await ask(casey, reordered), { status: 200 }, 'order and repeats change nothing of what is revealed')
})

t.test('what was refused, has run out or never was gives nothing, and is decided once', async t => {
  const { asked, ask, decide, show, runOut, approved } = await build(t)
  const use = (approvalId: string) => ask(casey, { ...asked, approvalId })
  const refused = (await ask()).json['approval'].id
  t.match(await decide(robin, refused, 'refuse'), { status: 200, json: { state: 'refused' } })
  t.match(await use(refused), unusable)
  t.match(await decide(sam, refused), settled)

  const late = (await ask()).json['approval'].id
  t.not(late, refused, 'after a refusal it is a new request')
  await runOut(late)
  t.match(await decide(robin, late), settled)
  t.match((await show(casey, late)).json, { state: 'expired' })

  const granted = await approved()
  t.match(await decide(robin, granted, 'refuse'), settled, 'a decision is final')
  await runOut(granted)
  t.match(await use(granted), unusable)
  t.match((await show(casey, granted)).json, { state: 'expired' })

  const none = '00000000-0000-4000-8000-000000000000'
  t.match(await use(none), unusable)
  t.match(await decide(robin, none), unknown)
  t.match(await show(robin, none), unknown)
})

t.test(
  'of 20 uses at once one gets the values, of 20 decisions one counts, and 20 identical requests are one',
  async t => {
    const { asked, ask, approved, decide, show, call } = await build(t)
    const approvalId = await approved()
    const replies = await Promise.all(Array.from({ length: 20 }, () => ask(casey, { ...asked, approvalId })))
    const statuses = replies.map(({ status }) => status).sort()
    t.strictSame(statuses, [200, ...Array.from({ length: 19 }, () => 403)])

    const alike = await Promise.all(Array.from({ length: 20 }, () => ask()))
    const ids = new Set(alike.map(({ json }) => json['approval'].id))
    t.equal(ids.size, 1)
    const [id] = [...ids]
    const decisions = Array.from({ length: 20 }, (_, n) =>
      decide({ sub: `approver-${n}`, roles: ['approver'] }, id, n % 2 === 0 ? 'approve' : 'refuse'),
    )
    const won = (await Promise.all(decisions)).filter(({ status }: Reply) => status === 200)
    t.equal(won.length, 1)
    t.equal((await show(robin, id)).json['state'], won[0]!.json['state'])
    t.equal((await call(robin, 'GET', '/v1/approvals')).json['approvals'].length, 2, 'the used one, and this one')
  },
)

t.test('who asked sees their own, who approves sees all, page by page', async t => {
  const { ask, call, decide, tokens, show } = await build(t)
  const ids: string[] = []
  for (const [n, caller] of [casey, jules, casey, jules, casey].entries()) {
    ids.unshift((await ask(caller, { purpose, tokens: tokens.slice(n, n + 3) })).json['approval'].id)
  }
  await decide(robin, ids[0]!, 'refuse')
  const list = async (caller: Caller, query = '') => (await call(caller, 'GET', `/v1/approvals${query}`)).json
  const idsOf = (page: Reply['json']) => page['approvals'].map(({ id }: { id: string }) => id)
  t.strictSame(idsOf(await list(robin)), ids)
  const mine = await list(casey)
  t.strictSame(idsOf(mine), [ids[0], ids[2], ids[4]])
  t.notMatch(JSON.stringify(await list(robin)), /ip_v1_|10\.0\.0/)
  t.strictSame(idsOf(await list(robin, '?state=pending')), ids.slice(1))
  t.strictSame(idsOf(await list(casey, '?state=refused')), [ids[0]])
  t.strictSame(await list({ sub: 'nobody', roles: [] }), { approvals: [] })
  const seen: string[] = []
  for (let page = await list(robin, '?limit=2'); ; page = await list(robin, `?limit=2&before=${page['next']}`)) {
    seen.push(...idsOf(page))
    if (page['next'] === undefined) break
  }
  t.strictSame(seen, ids)
  t.strictSame(idsOf(await list(casey, `?limit=1&before=${ids[1]}`)), [ids[2]], 'also after somebody else’s')
  t.match(await show(casey, ids[1]!), unknown, 'somebody else’s is none')
  t.match(await show(robin, ids[1]!), { status: 200, json: { subject: 'jules' } })
})

t.test('a decision repeated under its key is answered alike, by the store that all processes share', async t => {
  const { ask, call, events } = await build(t)
  const { id } = (await ask()).json['approval']
  const decide = (caller: Caller, decision: string) =>
    call(caller, 'POST', `/v1/approvals/${id}/decision`, { decision }, { 'idempotency-key': 'decide-1' })
  const replies = await Promise.all(Array.from({ length: 8 }, () => decide(robin, 'approve')))
  t.ok(replies.every(({ status, json }) => status === 200 || json['code'] === 'idempotency_in_progress'))
  const repeat = await decide(robin, 'approve')
  t.match(repeat, { status: 200, json: { id, state: 'approved' } })
  t.equal(repeat.headers.get('idempotency-replayed'), 'true')
  t.match(await decide(robin, 'refuse'), { status: 422, json: { code: 'idempotency_key_reused' } })
  t.match(await decide(sam, 'approve'), settled, 'a key of somebody else’s')
  t.match(await decide(sam, 'approve'), settled, 'a refusal is not kept')
  t.equal((await events()).filter(({ type }) => type === 'approval_approve').length, 3)
})

t.test('bad input has a code and leaves no evidence', async t => {
  const { call, events } = await build(t)
  const refused = async (method: 'GET' | 'POST', path: string, code: string, body?: object) =>
    t.match(await call(robin, method, path, body), { status: 400, json: { code } }, `${path} ${JSON.stringify(body)}`)
  const id = '2b0a4d0e-6f1c-4b9a-8d3e-5c6d7e8f9a0b'
  await refused('GET', '/v1/approvals?state=lost', 'request_invalid')
  await refused('GET', '/v1/approvals?limit=0', 'request_invalid')
  await refused('GET', '/v1/approvals?limit=1001', 'request_invalid')
  await refused('GET', '/v1/approvals?before=%27', 'request_invalid')
  await refused('GET', '/v1/approvals?colour=red', 'property_unknown')
  await refused('GET', '/v1/approvals/NOT-AN-ID', 'request_invalid')
  await refused('GET', `/v1/approvals/${id.toUpperCase()}`, 'request_invalid')
  const path = `/v1/approvals/${id}/decision`
  await refused('POST', path, 'request_invalid', {})
  await refused('POST', path, 'request_invalid', { decision: 'maybe' })
  await refused('POST', path, 'property_unknown', { decision: 'approve', all: true })
  await refused('POST', path, 'property_unknown', { id, decision: 'approve' })
  await refused('POST', '/v1/approvals/1/decision', 'request_invalid', { decision: 'approve' })
  await refused('POST', path.replace(id, id.toUpperCase()), 'request_invalid', { decision: 'approve' })
  const elsewhere = await call(robin, 'POST', '/v1/approvals', { id, decision: 'approve' })
  t.match(elsewhere, { status: 405, json: { code: 'method_not_allowed' } }, 'a decision belongs to its approval')
  t.strictSame(await events(), [])
  t.match(await call(robin, 'GET', `/v1/approvals?before=${id}`), { status: 200, json: { approvals: [] } })
})

t.test('approvers are told of a new request once, and the reply does not wait for them', async t => {
  const bodies: string[] = []
  const proceed = Promise.withResolvers<void>()
  const receiver = createServer(async (request, response) => {
    let body = ''
    for await (const part of request.setEncoding('utf8')) body += part
    bodies.push(body)
    receiver.emit('told')
    await proceed.promise
    response.end()
  })
  receiver.listen(0, '127.0.0.1')
  await once(receiver, 'listening')
  t.teardown(() => receiver.close())
  const { ask, tokens, logged, close } = await build(t, {
    APPROVAL_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`,
    APPROVAL_WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
  })
  const told = once(receiver, 'told')
  const first = await ask()
  t.match(first, { status: 202 }, 'answered while the receiver still waits')
  await told
  t.match(await ask(), { status: 202 })
  t.match(await ask(casey, { purpose, tokens: tokens.slice(0, 2) }), { status: 200 })
  proceed.resolve()
  await close()
  const { id, expiresAt } = first.json['approval']
  t.match(
    bodies.map(body => JSON.parse(body)),
    [{ type: 'approval.requested', id, expiresAt, subject: 'casey', values: 3 }],
  )
  t.equal(bodies.length, 1)
  t.notMatch(bodies[0], /ip_v1_/)
  t.notMatch(logged(), /webhook_failed/)
})
