import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { issuer } from '../../helpers/http/jwks-server.ts'
import { type Caller, startVaultApi } from '../../helpers/http/vault-api.ts'

const policyOf = (onHoney: string) => `
version: 1
on_honey: ${onHoney}
roles:
  investigator:
    reveal: { "*": full }
    tokenize: ["*"]
    purposes: ["*"]
    budget: { per_minute: 1000, per_day: 1000 }
    approval: { above: 5 }
  migrator: { crosswalk: ["*"], purposes: ["*"] }
  auditor: { audit: true }
  administrator: { suspensions: true }
  security: { honey: true }
`
const purpose = 'fraud_investigation'
const security: Caller = { sub: 'sasha', roles: ['security'] }
const thief: Caller = { sub: 'casey', roles: ['investigator'] }
const note = 'laid out in the export of March'

/** An API, what its alarms told, and a honey token. */
async function build(
  t: Test,
  { onHoney = 'alarm', field = 'ip', like }: { onHoney?: string; field?: string; like?: string } = {},
) {
  const alarms: Record<string, unknown>[] = []
  const receiver = createServer(async (request, response) => {
    let body = ''
    for await (const part of request.setEncoding('utf8')) body += part
    alarms.push(JSON.parse(body))
    response.end()
    receiver.emit('told')
  })
  receiver.listen(0, '127.0.0.1')
  await once(receiver, 'listening')
  t.teardown(() => receiver.close())
  const api = await startVaultApi(t, {
    policy: policyOf(onHoney),
    originals: 10,
    environment: {
      ALARM_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`,
      ALARM_WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
    },
  })
  const made = await api.call(security, 'POST', '/v1/honey', { field, count: 2, note, like })
  t.match(made, { status: 200 })
  const told = () => once(receiver, 'told')
  const detokenize = (caller: Caller, tokens: readonly string[]) =>
    api.call(caller, 'POST', '/v1/detokenize', { purpose, tokens })
  return {
    ...api,
    alarms,
    told,
    detokenize,
    honey: made.json['honey'] as { id: string; token: string; value: string }[],
  }
}

t.test('a honey token opens like any other, and the alarm says who opened it', async t => {
  const { honey, tokens, detokenize, told, alarms, events, call, logged } = await build(t)
  const [first] = honey
  const alarm = told()
  const opened = await detokenize(thief, [tokens[0]!, first!.token, first!.token])
  t.match(opened, {
    status: 200,
    json: { results: [{ value: '10.0.0.0' }, { value: first!.value }, { value: first!.value }] },
  })
  const plain = await detokenize({ ...thief, sub: 'jules' }, [tokens[0]!, tokens[1]!])
  t.strictSame(Object.keys(plain.json), Object.keys(opened.json), 'and its reply has the shape of any other')
  await alarm
  const { requestId, timestamp, ...rest } = alarms[0]!
  t.strictSame(rest, {
    ...{ type: 'honey.met', issuer, subject: 'casey', roles: ['investigator'], purpose, tokens: 1, notes: [note] },
    suspended: false,
  })
  t.match(timestamp, /^\d{4}-.*Z$/)

  const all = await events()
  const met = all.filter(({ type }) => type === 'honey')
  t.match(met, [{ subject: 'casey', requestId, requested: 1, tokens: [], decision: 'permitted', purpose }])
  t.match(all.find(({ type }) => type === 'detokenize')!, { requestId, granted: 3 })
  t.match(all.find(({ type }) => type === 'honey_create')!, { subject: 'sasha', requested: 2, tokens: [] })
  t.equal(JSON.stringify(all).includes(first!.token), false)
  t.equal(JSON.stringify(alarms).includes(first!.token), false, 'which token it was is not told')
  t.equal(logged().includes(first!.token) || logged().includes(first!.value), false)

  const listed = await call(security, 'GET', '/v1/honey')
  const entry = listed.json['honey'].find(({ id }: { id: string }) => id === first!.id)
  t.match(entry, { token: first!.token, note, subject: 'sasha', met: [{ subject: 'casey', requestId }] })
  t.equal(listed.json['honey'].length, 2)
  t.equal(JSON.stringify(listed.json).includes(first!.value), false, 'the value is told once, when it is made')
})

t.test('looking the value up springs the trap too; a crosswalk and a reply that gives nothing do not', async t => {
  const { honey, tokens, detokenize, told, alarms, events, call } = await build(t)
  const [first] = honey
  t.match(await detokenize({ sub: 'robin', roles: ['auditor'] }, [first!.token]), { status: 403 })
  const manyTokens = [...tokens.slice(0, 8), first!.token]
  t.match(await detokenize(thief, manyTokens), { status: 202 }, 'an approval is asked for, and nothing is given')
  t.match(
    await call({ sub: 'mika', roles: ['migrator'] }, 'POST', '/v1/crosswalk', {
      purpose,
      field: 'ip',
      scheme: 'sha256',
    }),
    { status: 200 },
  )
  t.strictSame(
    (await events()).filter(({ type }) => type === 'honey'),
    [],
  )
  const alarm = told()
  const values = [{ field: 'ip', value: first!.value }]
  t.match(await call(thief, 'POST', '/v1/tokenize', { purpose, values }), {
    json: { results: [{ token: first!.token }] },
  })
  await alarm
  t.equal(alarms.length, 1)
})

t.test('where the policy says so, who meets a honey token has the answer and is suspended', async t => {
  const { honey, tokens, detokenize, call } = await build(t, {
    onHoney: 'suspend',
    field: 'device_id',
    like: '593-47-5928',
  })
  t.match(honey[0]!.value, /^\d{3}-\d{2}-\d{4}$/)
  const replies = await Promise.all([
    detokenize(thief, [honey[0]!.token]),
    detokenize({ ...thief, sub: 'jules' }, [tokens[0]!]),
  ])
  t.match(replies, [{ status: 200, json: { results: [{ value: honey[0]!.value }] } }, { status: 200 }])
  t.match(await detokenize(thief, [tokens[0]!]), { status: 403, json: { code: 'principal_suspended' } })
  t.match(await detokenize({ ...thief, sub: 'jules' }, [tokens[0]!]), { status: 200 }, 'and nobody else')
  const lifted = { issuer, subject: 'casey' }
  const administrator = { sub: 'alex', roles: ['administrator'] }
  t.match(await call(administrator, 'POST', '/v1/suspensions/lift', lifted), { status: 200 })
})

t.test('a retired one raises no alarm, and only security makes, sees and retires them', async t => {
  const { honey, detokenize, call, events } = await build(t)
  const [first] = honey
  const refused = { status: 403, json: { code: 'role_not_permitted' } }
  const all = { sub: 'casey', roles: ['investigator', 'migrator', 'auditor', 'administrator'] }
  t.match(await call(all, 'GET', '/v1/honey'), refused)
  t.match(await call(all, 'POST', '/v1/honey', { field: 'ip', note }), refused)
  t.match(await call(all, 'POST', `/v1/honey/${first!.id}/retire`), refused)
  t.match(await call(security, 'POST', `/v1/honey/${first!.id}/retire`), { status: 200, json: { state: 'retired' } })
  t.match(await call(security, 'POST', `/v1/honey/${first!.id}/retire`), {
    status: 404,
    json: { code: 'honey_unknown' },
  })
  t.match(await detokenize(thief, [first!.token]), { status: 200 })
  t.strictSame(
    (await events()).filter(({ type }) => type === 'honey'),
    [],
  )
  const bad: [object, string][] = [
    [{ field: 'ip' }, 'request_invalid'],
    [{ field: 'ip', note: 'a\nb' }, 'request_invalid'],
    [{ field: 'ip', note: 'a\u0600b' }, 'request_invalid'],
    [{ field: 'ip', note, count: 101 }, 'request_invalid'],
    [{ field: '__proto__', note }, 'request_invalid'],
    [{ field: 'device_id', note, like: '---' }, 'request_invalid'],
    [{ field: 'device_id', note, like: '12345' }, 'request_invalid'],
    [{ field: 'ip', note, token: first!.token }, 'property_unknown'],
  ]
  for (const [body, code] of bad)
    t.match((await call(security, 'POST', '/v1/honey', body)).json, { code }, JSON.stringify(body))
  t.match(await call(security, 'POST', '/v1/honey/../retire'), { status: 404 })
})

t.test('a honey token of one API is watched by another before long', async t => {
  const world = await build(t)
  const other = await startVaultApi(t, { world })
  const [first] = (await world.call(security, 'POST', '/v1/honey', { field: 'ip', note })).json['honey']
  for (let tries = 0; tries < 100; tries++) {
    await other.call({ ...thief, sub: `casey-${tries}` }, 'POST', '/v1/detokenize', { purpose, tokens: [first.token] })
    if ((await world.events()).some(({ type }) => type === 'honey')) return t.pass(`after ${tries + 1} tries`)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  t.fail('not watched within 10 seconds')
})
