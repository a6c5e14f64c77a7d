import t, { type Test } from 'tap'
import { issuer } from '../../helpers/http/jwks-server.ts'
import { type Caller, startVaultApi } from '../../helpers/http/vault-api.ts'

const policy = `
version: 1
roles:
  investigator:
    reveal: { "*": full }
    tokenize: ["*"]
    purposes: ["*"]
    budget: { per_minute: 4, per_day: 6 }
  hurried:
    reveal: { "*": full }
    purposes: ["*"]
    budget: { per_day: 3 }
  operator: { quarantine: true }
  approver: { approve: true }
  auditor: { audit: true }
  administrator: { suspensions: true }
`
const purpose = 'fraud_investigation'
const admin: Caller = { sub: 'alex', roles: ['administrator'] }

async function build(t: Test) {
  const api = await startVaultApi(t, { policy, originals: 10 })
  const { call, tokens } = api
  const take = (caller: Caller, from: number, count: number) =>
    call(caller, 'POST', '/v1/detokenize', { purpose, tokens: tokens.slice(from, from + count) })
  const lift = (caller: Caller, subject: string, headers?: Record<string, string>) =>
    call(caller, 'POST', '/v1/suspensions/lift', { issuer, subject }, headers)
  return { ...api, take, lift }
}

const suspended = { status: 403, json: { code: 'principal_suspended' } }

t.test('who is over the budget of a minute is told when to come back, and gets nothing', async t => {
  const { take } = await build(t)
  const casey = { sub: 'casey', roles: ['investigator'] }
  t.match(await take(casey, 0, 3), { status: 200 })
  const over = await take(casey, 3, 2)
  t.match(over, { status: 429, json: { code: 'budget_exceeded', window: 'minute' } })
  t.equal(over.json['results'], undefined)
  const seconds = Number(over.headers.get('retry-after'))
  t.ok(Number.isInteger(seconds) && seconds >= 1 && seconds <= 70, `${seconds} s`)
  t.match(await take(casey, 3, 1), { status: 200 }, 'what still fits is given')
  t.match(await take({ ...casey, sub: 'jules' }, 0, 4), { status: 200 }, 'another principal has a budget of their own')
})

t.test('a daily budget used up suspends until another administrator lifts it, and every step is evidence', async t => {
  const { call, take, lift, events } = await build(t)
  const roles = ['hurried', 'operator', 'approver', 'auditor', 'administrator']
  const casey = { sub: 'casey', roles }
  t.match(await take(casey, 0, 3), { status: 200 })
  const over = await take(casey, 3, 1)
  t.match(over, { status: 429, json: { code: 'budget_exceeded', window: 'day' } })
  t.ok(Number(over.headers.get('retry-after')) > 60)

  const id = '2b0a4d0e-6f1c-4b9a-8d3e-5c6d7e8f9a0b'
  const privileged: ['GET' | 'POST', string, object?][] = [
    ['POST', '/v1/detokenize', { purpose, tokens: ['ip_v1_nonsense'] }],
    ['POST', '/detokenize', { purpose, tokens: ['ip_v1_nonsense'] }],
    ['GET', '/v1/approvals'],
    ['GET', `/v1/approvals/${id}`],
    ['POST', `/v1/approvals/${id}/decision`, { decision: 'approve' }],
    ['GET', '/v1/suspensions'],
    ['POST', '/v1/suspensions/lift', { issuer, subject: 'jules' }],
    ['POST', '/v1/quarantine/redrive', {}],
  ]
  for (const [method, path, body] of privileged) t.match(await call(casey, method, path, body), suspended, path)
  t.match(await lift(casey, 'casey'), suspended, 'nobody lifts their own')
  t.match(await lift({ sub: 'casey', roles: ['administrator'] }, 'casey'), suspended, 'also not with another token')
  t.match(await lift({ sub: 'robin', roles: roles.slice(0, -1) }, 'casey'), {
    status: 403,
    json: { code: 'role_not_permitted' },
  })

  t.match(await call(admin, 'GET', '/v1/suspensions'), {
    status: 200,
    json: { suspensions: [{ issuer, subject: 'casey', suspendedAt: /^\d{4}-.*Z$/ }] },
  })
  t.match(await lift(admin, 'nobody'), { status: 404, json: { code: 'suspension_unknown' } })
  const key = { 'idempotency-key': 'lift-1' }
  t.match(await lift(admin, 'casey', key), { status: 200, json: { issuer, subject: 'casey', state: 'lifted' } })
  t.equal((await lift(admin, 'casey', key)).headers.get('idempotency-replayed'), 'true')
  t.match(await lift(admin, 'casey'), { status: 404, json: { code: 'suspension_unknown' } })
  t.strictSame((await call(admin, 'GET', '/v1/suspensions')).json, { suspensions: [] })
  t.match(await take(casey, 0, 3), { status: 200 }, 'with the whole budget')

  const all = await events()
  const steps = all.map(({ type, subject, decision, code = '', granted, concerns }) => {
    return [type, subject, decision, code, granted, (concerns as { subject?: string })?.subject ?? ''].join(' ')
  })
  t.strictSame(steps.slice(0, 2), ['detokenize casey permitted  3 ', 'detokenize casey refused budget_exceeded 0 '])
  const refused = all.filter(({ code }) => code === 'principal_suspended')
  const attempts = refused.reduce((sum, { count = 1 }) => sum + Number(count), 0)
  t.equal(attempts, privileged.length + 2, 'each attempt is told or counted')
  t.strictSame(steps.slice(-9, -3), [
    'suspension_lift robin refused role_not_permitted 0 casey',
    'suspension_list alex permitted  0 ',
    'suspension_lift alex refused suspension_unknown 0 nobody',
    'suspension_lift alex permitted  0 casey',
    'suspension_list alex permitted  0 ',
    'detokenize casey permitted  3 ',
  ])
})

t.test('only an administrator lists and lifts, and bad input has a code', async t => {
  const { call, lift, events } = await build(t)
  const others = { sub: 'casey', roles: ['investigator', 'operator', 'approver', 'auditor'] }
  const refused = { status: 403, json: { code: 'role_not_permitted' } }
  t.match(await call(others, 'GET', '/v1/suspensions'), refused)
  t.match(await lift(others, 'jules'), refused)
  t.equal((await events()).length, 2)
  for (const path of ['?limit=0', '?limit=x', '?limit=1001'])
    t.match(
      await call(admin, 'GET', `/v1/suspensions${path}`),
      { status: 400, json: { code: 'request_invalid' } },
      path,
    )
  t.match(await call(admin, 'GET', '/v1/suspensions?all=1'), { status: 400, json: { code: 'property_unknown' } })
  const bodies: object[] = [
    { issuer },
    { issuer, subject: '' },
    { issuer, subject: 'a\nb' },
    { issuer, subject: 'a\u202eb' },
    { issuer, subject: 'a\u0600b' },
    { issuer, subject: 'a\ud800b' },
    { issuer, subject: 'a\u{e0041}b' },
    { issuer: `${issuer}\ufffa`, subject: 'a' },
    { issuer, subject: 'a'.repeat(257) },
    { issuer: 1, subject: 'a' },
  ]
  for (const body of bodies) {
    const reply = await call(admin, 'POST', '/v1/suspensions/lift', body)
    t.match(reply, { status: 400, json: { code: 'request_invalid' } }, JSON.stringify(body))
  }
  t.equal((await events()).length, 2, 'and leaves no evidence')
  t.match(
    await lift(admin, 'päm 💥'),
    { status: 404, json: { code: 'suspension_unknown' } },
    'other characters are let through',
  )
})

t.test('suspensions are listed page by page, newest first, whatever is lifted meanwhile', async t => {
  const { call, lift, vault } = await build(t)
  const database = await vault.connect()
  // Two at a time, so that the moment alone does not order them; they differ by microseconds.
  await database.query(
    `INSERT INTO pii_vault.suspensions (principal, issuer, subject, suspended_at)
     SELECT pii_vault.principal_id($1, 'subject-' || n), $1, 'subject-' || n,
       timestamptz '2026-03-01T00:00:00Z' + (n / 2) * interval '1 microsecond' FROM generate_series(0, 9) AS n`,
    [issuer],
  )
  const page = async (query: string) => {
    const { status, json } = await call(admin, 'GET', `/v1/suspensions?${query}`)
    t.equal(status, 200)
    const subjects: string[] = json['suspensions'].map(({ subject }: { subject: string }) => subject)
    return { subjects, next: json['next'] as string | undefined }
  }
  const all = await page('')
  t.equal(all.next, undefined)
  t.strictSame(
    all.subjects.map(subject => Math.floor(Number(subject.slice(8)) / 2)),
    [4, 4, 3, 3, 2, 2, 1, 1, 0, 0],
  )
  const seen: string[] = []
  for (let before: string | undefined = ''; before !== undefined; ) {
    const { subjects, next } = await page(`limit=3${before && `&before=${before}`}`)
    seen.push(...subjects)
    // The last one of the page, where the next one begins.
    t.equal((await lift(admin, subjects.at(-1)!)).status, 200)
    before = next
  }
  t.strictSame(seen, all.subjects)
  for (const before of ['1', 'x', `1-${'a'.repeat(36)}`, `${'9'.repeat(18)}-2b0a4d0e-6f1c-4b9a-8d3e-5c6d7e8f9a0b`])
    t.match(await call(admin, 'GET', `/v1/suspensions?before=${before}`), { status: 400 }, before)
})
