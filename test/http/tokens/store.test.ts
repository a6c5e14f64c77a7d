import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import t from 'tap'
import { createVaultWorld, startVaultApi } from '../../helpers/http/vault-api.ts'
import { startDatabaseProxy } from '../../helpers/postgres/database-proxy.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

const purpose = 'enrollment'
const policy = `
version: 1
roles:
  enroller: { store: [ip], purposes: [enrollment] }
  filer: { store: ["*"], store_by_default: true, purposes: [enrollment], batch_limit: 10000 }
  clerk: { store: ["*"], purposes: ["*"], budget: { per_minute: 2 } }
  seeker: { tokenize: ["*"], purposes: ["*"] }
  revealer: { reveal: { "*": full }, purposes: ["*"] }
`
const anna = { sub: 'anna', roles: ['enroller'] }
const fred = { sub: 'fred', roles: ['filer'] }
const seeker = { sub: 'sid', roles: ['seeker'] }
const revealer = { sub: 'rita', roles: ['revealer'] }
const ip = (value: string) => ({ field: 'ip', value })
const device = (value: string) => ({ field: 'device_id', value })

t.test('storing over HTTP', async t => {
  const api = await startVaultApi(t, { policy, originals: 0 })
  const admin = await api.vault.connect()
  const rows = async () => Number((await admin.query('SELECT count(*) FROM pii_vault.originals')).rows[0].count)
  const tokenize = (caller: typeof anna, body: object) => api.call(caller, 'POST', '/v1/tokenize', { purpose, ...body })
  const reveal = async (tokens: readonly string[]) => {
    const { json } = await api.call(revealer, 'POST', '/v1/detokenize', { purpose, tokens })
    return json['results'].map((item: { value?: string; error?: { code: string } }) => item.value ?? item.error?.code)
  }

  await t.test('what is stored is given back, and equal values have one token and one row', async t => {
    const before = await rows()
    const values = [ip('203.0.113.7'), ip(' ::ffff:203.0.113.7'), ip('2001:DB8::1'), ip('203.0.113.7')]
    const reply = await tokenize(anna, { values, store: true })
    t.equal(reply.status, 200)
    t.equal(reply.json['stored'], true)
    const tokens = reply.json['results'].map(({ token }: { token: string }) => token)
    t.equal(new Set(tokens).size, 2)
    t.equal(await rows(), before + 2)
    t.strictSame(await reveal(tokens), ['203.0.113.7', '203.0.113.7', '2001:db8::1', '203.0.113.7'])
    t.match(reply.json['receipt'], { log: 'tokenvault/default', sequence: Number, signature: String })
    const event = (await api.events())[reply.json['receipt'].sequence]
    t.match(event, {
      ...{ type: 'tokenize', mode: 'store', decision: 'permitted', requested: 4, granted: 4 },
      fields: { ip: { requested: 4, granted: 4, level: 'full' } },
      tokens: { length: 2 },
    })
  })

  await t.test('a repeat gives the same tokens and changes no row', async t => {
    const values = [ip('198.51.100.1'), ip('198.51.100.2')]
    const first = await tokenize(anna, { values, store: true })
    const stored = (await admin.query('SELECT * FROM pii_vault.originals ORDER BY 1')).rows
    const again = await tokenize(anna, { values: values.toReversed(), store: true })
    t.strictSame(again.json['results'], first.json['results'].toReversed())
    t.strictSame((await admin.query('SELECT * FROM pii_vault.originals ORDER BY 1')).rows, stored)
  })

  await t.test('looking up stores nothing, and gives the token that storing would give', async t => {
    const before = await rows()
    const found = await tokenize(seeker, { values: [ip('192.0.2.1')], store: false })
    t.match(found.json, { stored: false, receipt: { sequence: Number } })
    t.equal(await rows(), before)
    const [{ token }] = found.json['results']
    t.strictSame(await reveal([token]), ['token_unknown'])
    const stored = await tokenize(anna, { values: [ip('192.0.2.1')], store: true })
    t.strictSame(stored.json['results'], found.json['results'])
    t.strictSame(await reveal([token]), ['192.0.2.1'])
  })

  await t.test('each item that fails is answered in its place, and the others are stored', async t => {
    const before = await rows()
    const token = (await tokenize(seeker, { values: [ip('192.0.2.9')], store: false })).json['results'][0].token
    const reply = await tokenize(anna, {
      values: [
        ...[ip('192.0.2.10'), ip('nowhere'), device('Pixel'), { field: 'phone', value: '1' }, ip(token), ip('0.0.0.0')],
        ...[ip(''), { field: '__proto__', value: 'x' }, ip('192.0.2.11')],
      ],
      store: true,
    })
    t.strictSame(
      reply.json['results'].map((item: { error?: { code: string } }) => item.error?.code ?? 'stored'),
      [
        ...[
          'stored',
          'value_invalid',
          'field_not_permitted',
          'field_unknown',
          'value_is_token',
          'value_is_placeholder',
        ],
        ...['value_invalid', 'field_unknown', 'stored'],
      ],
    )
    t.equal(await rows(), before + 2)
  })

  await t.test('atomic: one failing item stores nothing, and the event says so', async t => {
    const before = await rows()
    for (const [caller, store] of [
      [anna, true],
      [seeker, false],
    ] as const) {
      const refused = await tokenize(caller, { values: [ip('192.0.2.20'), ip('nowhere')], store, atomic: true })
      t.match(refused, { status: 422, json: { code: 'batch_refused', items: [{ index: 1, code: 'value_invalid' }] } })
      t.notMatch(refused.json, { results: Array })
      const event = (await api.events()).at(-1)
      t.match(event, {
        ...{ decision: 'refused', code: 'batch_refused', mode: store ? 'store' : 'look_up', granted: 0, tokens: [] },
        withheld: { value_invalid: 1 },
      })
    }
    t.equal(await rows(), before)
    const whole = await tokenize(anna, { values: [ip('192.0.2.20')], store: true, atomic: true })
    t.equal(whole.status, 200)
    t.equal(await rows(), before + 1)
  })

  await t.test('who may not store stores nothing, whatever else they may', async t => {
    const before = await rows()
    const values = [ip('192.0.2.30')]
    const refused = async (caller: typeof anna, body: object, code: string) => {
      const reply = await tokenize(caller, body)
      t.equal(reply.json['code'], code, JSON.stringify([caller, body]))
      t.match((await api.events()).at(-1), { decision: 'refused', code, granted: 0, tokens: [], mode: 'store' })
    }
    await refused(seeker, { values, store: true }, 'role_not_permitted')
    await refused(revealer, { values, store: true }, 'role_not_permitted')
    await refused(anna, { values, store: true, purpose: 'marketing' }, 'purpose_not_permitted')
    await refused({ sub: 'anna2', roles: [] }, { values, store: true }, 'role_not_permitted')
    const mixed = await tokenize(
      { sub: 'mia', roles: ['enroller', 'seeker'] },
      { values: [device('Pixel')], store: true },
    )
    t.strictSame(mixed.json['results'], [{ field: 'device_id', error: { code: 'field_not_permitted' } }])
    t.equal((await tokenize(anna, { values, store: false })).json['code'], 'role_not_permitted', 'nor look up')
    t.equal(await rows(), before)
  })

  await t.test('where the call does not say, the policy does', async t => {
    const before = await rows()
    const stored = async (roles: readonly string[], body: object) =>
      (await tokenize({ sub: 'both', roles: [...roles] }, body)).json['stored']
    t.equal(await stored(['filer'], { values: [ip('192.0.2.40')] }), true)
    t.equal(await stored(['seeker'], { values: [ip('192.0.2.41')] }), false)
    t.equal(await stored(['filer', 'seeker'], { values: [ip('192.0.2.42')] }), true)
    t.equal(await stored(['filer', 'seeker'], { values: [ip('192.0.2.43')], store: false }), false)
    t.equal(await stored(['filer', 'seeker'], { values: [ip('192.0.2.44')], purpose: 'fraud' }), false)
    t.equal(await stored(['enroller', 'seeker'], { values: [ip('192.0.2.45')] }), false, 'a right is no default')
    const elsewhere = await tokenize(fred, { values: [ip('192.0.2.46')], purpose: 'fraud' })
    t.equal(elsewhere.json['code'], 'purpose_not_permitted', 'and the refusal is about storing')
    t.equal(await rows(), before + 2)
  })

  await t.test('storing is charged to the budget, and what is refused stores nothing', async t => {
    const before = await rows()
    const clerk = { sub: 'carl', roles: ['clerk'] }
    const ok = await tokenize(clerk, { values: [ip('192.0.2.50'), ip('192.0.2.50'), device('Pixel')], store: true })
    t.equal(ok.status, 200)
    const over = await tokenize(clerk, { values: [ip('192.0.2.51')], store: true })
    t.match(over, { status: 429, json: { code: 'budget_exceeded', window: 'minute' } })
    t.equal(await rows(), before + 2)
  })

  await t.test('10,000 values a call, and not one more', async t => {
    const before = await rows()
    const many = Array.from({ length: 10_000 }, () => device(randomUUID()))
    const reply = await tokenize(fred, { values: many })
    t.equal(reply.status, 200)
    t.equal(await rows(), before + 10_000)
    const tokens = reply.json['results'].map(({ token }: { token: string }) => token)
    t.strictSame(await reveal([tokens[0], tokens[9999]]), [many[0]!.value, many[9999]!.value])
    t.equal((await tokenize(fred, { values: [...many, device('x')] })).json['code'], 'batch_too_large')
    t.equal(await rows(), before + 10_000)
  })

  await t.test('calls with the same tokens at the same time all end, with one row each', async t => {
    const before = await rows()
    const shared = Array.from({ length: 200 }, (_, n) => device(`shared-${n}-${randomBytes(4).toString('hex')}`))
    const calls = Array.from({ length: 12 }, (_, n) => {
      const values = n % 2 === 0 ? shared : shared.toReversed()
      return tokenize(fred, { values: [...values.slice(n * 10), ...values.slice(0, n * 10)] })
    })
    const replies = await Promise.all(calls)
    t.ok(replies.every(({ status }) => status === 200))
    t.equal(await rows(), before + 200)
  })
})

t.test('without STORE_DATABASE_URL nothing is stored, and the answer says how to switch it on', async t => {
  const api = await startVaultApi(t, { policy, originals: 1, environment: { STORE_DATABASE_URL: '' } })
  const values = [ip('203.0.113.7')]
  const refused = await api.call(fred, 'POST', '/v1/tokenize', { purpose, values })
  t.match(refused, { status: 501, json: { code: 'storing_off', remedy: /STORE_DATABASE_URL/ } })
  t.equal(refused.headers.get('retry-after'), null)
  t.match(await api.events(), [{ decision: 'refused', code: 'storing_off', mode: 'store' }])
  const found = await api.call(seeker, 'POST', '/v1/tokenize', { purpose, values })
  t.match(found, { status: 200, json: { stored: false } }, 'looking up needs no such login')
  const other = await api.call(seeker, 'POST', '/v1/tokenize', { purpose, values, store: true })
  t.equal(other.json['code'], 'role_not_permitted', 'who may not store does not learn whether anybody can')
  const ready = await fetch(`${api.origin}/readyz`)
  t.strictSame(await ready.json(), { status: 'ready', storing: { status: 'off' } })
})

t.test('a server for storing that is away stops nothing else, and its return is noticed', async t => {
  const world = await createVaultWorld(t, { policy, originals: 1 })
  let target: string | undefined
  const relay = createServer(client => {
    if (target === undefined) return client.destroy()
    const { hostname, port } = new URL(target)
    const upstream = connect(Number(port), hostname)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const)
      from
        .on('error', () => to.destroy())
        .on('close', () => to.destroy())
        .pipe(to)
  })
  await once(relay.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => relay.close())
  const url = new URL(world.vault.urlFor('tokenvault_store'))
  url.port = String((relay.address() as AddressInfo).port)
  const api = await startVaultApi(t, { world, environment: { STORE_DATABASE_URL: url.href } })
  t.match(api.logged(), /"level":"warn".*"event":"storing_unavailable".*"code":"store_unavailable"/)
  const values = [ip('203.0.113.7')]
  const away = await api.call(fred, 'POST', '/v1/tokenize', { purpose, values })
  t.match(away, { status: 503, json: { code: 'store_unavailable' } })
  t.ok(away.headers.get('retry-after'))
  const { json } = await api.call(revealer, 'POST', '/v1/detokenize', { purpose, tokens: [world.tokens[0]] })
  t.match(json, { results: [{ value: '10.0.0.0' }] })
  const ready = async () => ((await (await fetch(`${api.origin}/readyz`)).json()) as { storing: object }).storing
  t.match(await ready(), { status: 'unavailable', code: 'store_unavailable' })
  target = world.vault.urlFor('tokenvault_store')
  t.match(await api.call(fred, 'POST', '/v1/tokenize', { purpose, values }), { status: 200, json: { stored: true } })
  t.strictSame(await ready(), { status: 'ready' })
})

t.test('a login for storing that is wrong is refused at start, and named without its password', async t => {
  const world = await createVaultWorld(t, { policy, originals: 0 })
  const { vault } = world
  const wrong = new URL(vault.urlFor('tokenvault_store'))
  wrong.password = 'canary-password'
  const other = await createVaultDatabase(t)
  for (const [url, message] of [
    [wrong.href, /SQLSTATE 28P01/],
    [vault.urlFor('tokenvault_analyst'), /not granted to the role: schema pii_vault/],
    [vault.urlFor('tokenvault_api'), /not granted to the role: .*table pii_vault.originals/],
    [other.urlFor('tokenvault_store'), /STORE_DATABASE_URL leads to another database/],
  ] as const) {
    const starting = startVaultApi(t, { world, environment: { STORE_DATABASE_URL: url } })
    const error = await t.rejects(starting, { code: 'store_misconfigured', message })
    t.notMatch(String(error), /canary|password-of/)
  }
})

t.test('a stored value is in no table, no log line, no reply and no statement', async t => {
  const world = await createVaultWorld(t, { policy, originals: 0 })
  const proxy = await startDatabaseProxy(t, world.vault.urlFor('tokenvault_store'))
  const api = await startVaultApi(t, { world, environment: { STORE_DATABASE_URL: proxy.url } })
  const canary = 'canary-7f3a9c-ä'
  const replies: unknown[] = []
  const store = async (body: object, status: number) => {
    const reply = await api.call(fred, 'POST', '/v1/tokenize', { purpose, ...body })
    t.equal(reply.status, status)
    replies.push(reply.json)
  }
  const values = [device(canary), ip(canary), { field: 'phone', value: canary }]
  await store({ values }, 200)
  await store({ values, atomic: true }, 422)
  proxy.cutAnswerTo('commit')
  await store({ values }, 503)
  const admin = await world.vault.connect()
  await admin.query(`ALTER TABLE pii_vault.originals ADD CONSTRAINT never CHECK (false) NOT VALID`)
  await store({ values: [device(`${canary}-2`)] }, 500)
  await store({ values: [device(canary)], store: 'yes' }, 400)
  const { rows: tables } = await admin.query(
    `SELECT format('SELECT t::text FROM %I.%I AS t', schemaname, tablename) AS ask FROM pg_tables
     WHERE schemaname IN ('pii_vault', 'ingest', 'public', 'analyst')`,
  )
  const found: unknown[] = []
  for (const { ask } of tables) found.push(...(await admin.query(ask)).rows)
  found.push(...(await admin.query('SELECT query FROM pg_stat_activity WHERE datname = current_database()')).rows)
  t.ok(found.length > 5)
  const everything = JSON.stringify([found, replies, await api.events()]) + api.logged()
  t.notMatch(everything, /canary|7f3a9c/)
  t.notOk(everything.includes(Buffer.from('7f3a9c').toString('hex')))
  t.notOk(everything.includes(Buffer.from('7f3a9c').toString('base64').slice(0, 6)))
})
