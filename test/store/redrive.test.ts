import t, { type Test } from 'tap'
import { TokenvaultError } from '../../src/errors.ts'
import { createQuarantineStore } from '../../src/store/quarantine.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { loginBodies, loginEvent, poison } from '../helpers/queue/events.ts'
import { running } from '../helpers/queue/worker.ts'
import { buildRedriver, ingest, quarantine, readState } from '../helpers/vault/quarantine.ts'

async function build(t: Test) {
  const vault = await createVaultDatabase(t)
  return { vault, store: createQuarantineStore(vault.database('tokenvault_api', 2)) }
}

t.test(
  'what an operator wants redriven becomes rows, originals and a delivery record, and its body is erased',
  async t => {
    const { vault, store } = await build(t)
    const ids = await quarantine(vault, loginBodies(3), { sentAtMs: Date.now() - 86_400_000 })
    const redriver = buildRedriver(vault)
    t.strictSame(
      await redriver.drain(running()),
      { redriven: 0, rows: 0, quarantined: 0, placeholders: 0, returned: 0 },
      'nothing is done unasked',
    )
    t.strictSame(await store.requestRedrive([ids[0]!, ids[2]!, '0'.repeat(32)]), [ids[0], ids[2]].toSorted())
    t.match(await redriver.drain(running()), { redriven: 2, rows: 2, quarantined: 0, returned: 0 })
    const { states, logins, originals } = await readState(t, vault)
    const sentOn = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10)
    t.strictSame(logins, [
      { user_id: 'user-0', create_date: sentOn },
      { user_id: 'user-2', create_date: sentOn },
    ])
    t.equal(originals, 4)
    t.strictSame(
      states.map(({ state, kept, redrives }) => ({ state, kept, redrives })),
      [
        { state: 'redriven', kept: false, redrives: 1 },
        { state: 'quarantined', kept: true, redrives: 0 },
        { state: 'redriven', kept: false, redrives: 1 },
      ],
    )
    t.match(await redriver.drain(running()), { redriven: 0, rows: 0, quarantined: 0, placeholders: 0, returned: 0 })
    t.strictSame(await store.requestRedrive(ids), [ids[1]], 'what was redriven is settled')
  },
)

t.test('two workers at once: each entry takes effect once', async t => {
  const { vault, store } = await build(t)
  const ids = await quarantine(vault, loginBodies(900))
  await store.requestRedrive(ids)
  const results = await Promise.all([buildRedriver(vault), buildRedriver(vault)].map(each => each.drain(running())))
  t.equal(
    results.reduce((sum, { rows }) => sum + rows, 0),
    900,
  )
  const { users, states } = await readState(t, vault)
  t.equal(users.length, 900)
  t.equal(new Set(users).size, 900)
  t.ok(states.every(({ state, kept }) => state === 'redriven' && !kept))
})

t.test(
  'an entry that another worker holds is passed over, and is free again when that worker’s connection dies',
  async t => {
    const { vault, store } = await build(t)
    const ids = await quarantine(vault, loginBodies(2))
    await store.requestRedrive(ids)
    const holder = await vault.connect('tokenvault_worker')
    await holder.query('BEGIN')
    t.equal((await holder.query('SELECT id FROM pii_vault.take_redrives(1)')).rowCount, 1)
    const redriver = buildRedriver(vault)
    t.equal((await redriver.drain(running())).rows, 1)
    const { rows } = await holder.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    const admin = await vault.connect()
    await admin.query('SELECT pg_terminate_backend($1, 5000)', [rows[0]!.pid])
    t.equal((await redriver.drain(running())).rows, 1)
    t.strictSame((await readState(t, vault)).users, ['user-0', 'user-1'])
  },
)

t.test('a worker that dies after storing and before settling has stored nothing', async t => {
  const { vault, store } = await build(t)
  await store.requestRedrive(await quarantine(vault, loginBodies(50)))
  const admin = await vault.connect()
  // Dies within settle_redrives, when rows and originals have been inserted.
  await admin.query(`CREATE FUNCTION public.die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
    CREATE TRIGGER die BEFORE UPDATE ON pii_vault.quarantine FOR EACH ROW WHEN (NEW.state = 'redriven') EXECUTE FUNCTION public.die()`)
  await t.rejects(buildRedriver(vault).drain(running()), { code: 'store_unavailable' })
  const before = await readState(t, vault)
  t.strictSame([before.users.length, before.originals], [0, 0])
  t.ok(before.states.every(({ state, kept }) => state === 'redrive_requested' && kept))
  await admin.query('DROP TRIGGER die ON pii_vault.quarantine')
  t.equal((await buildRedriver(vault).drain(running())).rows, 50)
  t.equal((await readState(t, vault)).users.length, 50)
})

t.test('a redrive that fails is counted and logged, and a worker that stays tries it again', async t => {
  const { vault, store } = await build(t)
  await store.requestRedrive(await quarantine(vault, loginBodies(3)))
  let away = 2
  const done = new AbortController()
  const { told, logged, ...redriver } = buildRedriver(vault, inner => ({
    async redrive(most, decide) {
      if (away-- > 0) throw new TokenvaultError('store_unavailable', 'as the test wants it')
      const outcomes = await inner.redrive(most, decide)
      if (outcomes.length === 0) done.abort()
      return outcomes
    },
  }))
  await t.rejects(redriver.drain(running()), { code: 'store_unavailable' }, 'a drain does not stay')
  t.match(await redriver.run(done.signal), { redriven: 3, rows: 3 })
  const failed = { kind: 'redrive_failed', code: 'store_unavailable' }
  t.match(told, [failed, failed, { kind: 'redriven', entries: 3 }])
  t.equal(logged.filter(line => line.includes('"redrive_failed"')).length, 2)
})

t.test('what is still no event goes back with the reason of now, and keeps its seal', async t => {
  const { vault, store } = await build(t)
  const ids = await quarantine(vault, [...poison.map(({ body }) => body), ...loginBodies(1)], { reason: 'old_reason' })
  await store.requestRedrive(ids)
  const redriver = buildRedriver(vault)
  t.match(await redriver.drain(running()), { redriven: 1, rows: 1, quarantined: 0, returned: poison.length })
  const { states } = await readState(t, vault)
  const returned = states.filter(({ state }) => state === 'quarantined')
  t.ok(returned.every(({ kept, redrives }) => kept && redrives === 1))
  t.strictSame(returned.map(({ reason }) => reason).toSorted(), poison.map(({ reason }) => reason).toSorted())
  t.notMatch(redriver.logged.join(''), /canary/)
  t.strictSame(redriver.told, [
    {
      kind: 'redriven',
      entries: 1,
      rows: 1,
      returned: poison.length,
      unstorable: 0,
      reasons: new Map(),
      placeholders: new Map(),
    },
  ])
})

t.test('a whole message that has become readable gives its rows, and new entries for the rest', async t => {
  const { vault, store } = await build(t)
  const body = JSON.stringify([
    loginEvent(1),
    loginEvent(2, { ip: 'nowhere' }),
    loginEvent(3),
    loginEvent(4, { ip: '10.0.0' }),
  ])
  await store.requestRedrive(await quarantine(vault, [body], { reason: 'json_invalid' }))
  const redriver = buildRedriver(vault)
  t.match(await redriver.drain(running()), { redriven: 1, rows: 2, quarantined: 2, returned: 0 })
  t.match(redriver.told, [{ kind: 'redriven', reasons: new Map([['ip_invalid', 2]]) }])
  const { users, states } = await readState(t, vault)
  t.strictSame(users, ['user-1', 'user-3'])
  t.strictSame(states.map(({ state }) => state).toSorted(), ['quarantined', 'quarantined', 'redriven'])
})

t.test('two entries of one message are redriven together, and its delivery record counts both', async t => {
  const { vault, store } = await build(t)
  const bodies = vault.sealQuarantined(loginBodies(2))
  await ingest(vault, [{ messageId: 'both', body: '["x","y"]', sentAtMs: Date.now() }])
  const admin = await vault.connect()
  for (const [index, { id, sealed }] of bodies.entries()) {
    await admin.query('UPDATE pii_vault.quarantine SET id = $1, sealed = $2 WHERE event_index = $3', [
      id,
      sealed,
      index,
    ])
  }
  await store.requestRedrive(bodies.map(({ id }) => id))
  t.equal((await buildRedriver(vault).drain(running())).rows, 2)
  t.strictSame((await readState(t, vault)).users, ['user-0', 'user-1'])
})

t.test('an entry whose seal was altered goes back, and its neighbours do not', async t => {
  const { vault, store } = await build(t)
  const ids = await quarantine(vault, loginBodies(3))
  const admin = await vault.connect()
  await admin.query(
    'UPDATE pii_vault.quarantine SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE id = $1',
    [ids[1]],
  )
  await store.requestRedrive(ids)
  t.match(await buildRedriver(vault).drain(running()), { redriven: 2, rows: 2, quarantined: 0, returned: 1 })
  t.strictSame(
    (await readState(t, vault)).states.map(({ reason }) => reason),
    ['ip_invalid', 'seal_invalid', 'ip_invalid'],
  )
})

t.test('an entry that the store refuses by itself goes back, and stands in nobody’s way', async t => {
  const { vault, store } = await build(t)
  await store.requestRedrive(await quarantine(vault, loginBodies(7)))
  const redriver = buildRedriver(vault, inner => ({
    redrive: (most, decide) =>
      inner.redrive(most, entries => {
        const outcomes = decide(entries)
        const rows = outcomes.flatMap(outcome => ('message' in outcome ? outcome.message.rows : []))
        if (rows.some(({ userId }) => userId === 'user-3')) throw new TokenvaultError('store_refused')
        return outcomes
      }),
  }))
  t.match(await redriver.drain(running()), { redriven: 6, rows: 6, quarantined: 0, returned: 1 })
  t.match(redriver.told, [{ kind: 'redrive_failed', code: 'store_refused' }])
  const { states, users } = await readState(t, vault)
  t.notOk(users.includes('user-3'))
  t.strictSame(
    states.filter(({ state }) => state === 'quarantined').map(({ reason }) => reason),
    ['row_invalid'],
  )
})

t.test('large bodies are taken some at a time, and never none', async t => {
  const { vault, store } = await build(t)
  const body = (n: number) => JSON.stringify(loginEvent(n, { padding: 'x'.repeat(n === 0 ? 5_000_000 : 1_500_000) }))
  for (const n of [0, 1, 2, 3]) await store.requestRedrive(await quarantine(vault, [body(n)], { prefix: `m${n}` }))
  const sizes: number[] = []
  const redriver = buildRedriver(vault, inner => ({
    redrive: (most, decide) =>
      inner.redrive(most, entries => {
        sizes.push(entries.length)
        return decide(entries)
      }),
  }))
  t.equal((await redriver.drain(running())).rows, 4)
  t.strictSame(sizes, [1, 2, 1])
})

t.test('of a message older than any delivery record the event is stored on its day', async t => {
  const { vault, store } = await build(t)
  const [id] = await quarantine(vault, loginBodies(1))
  const admin = await vault.connect()
  await admin.query(`UPDATE pii_vault.quarantine SET sent_on = '2020-02-29'; DELETE FROM ingest.receipts`)
  await store.requestRedrive([id!])
  t.equal((await buildRedriver(vault).drain(running())).rows, 1)
  const { rows } = await admin.query('SELECT create_date::text FROM user_logins')
  t.strictSame(rows, [{ create_date: '2020-02-29' }])
})

t.test('discarding erases the body of what is not settled; a redrive in progress wins', async t => {
  const { vault, store } = await build(t)
  const ids = await quarantine(vault, loginBodies(3))
  await store.requestRedrive([ids[1]!, ids[2]!])
  const holder = await vault.connect('tokenvault_worker')
  await holder.query('BEGIN')
  await holder.query('SELECT FROM pii_vault.take_redrives(2)')
  const discarding = store.discard(ids)
  await holder.query(`SELECT pii_vault.settle_redrives($1, '{NULL}', '{0}', '{0}', '{-1}')`, [[ids[2]]])
  await holder.query('COMMIT')
  t.strictSame(await discarding, [ids[0], ids[1]].toSorted())
  t.strictSame(
    (await readState(t, vault)).states.map(({ state, kept }) => [state, kept]),
    [
      ['discarded', false],
      ['discarded', false],
      ['redriven', false],
    ],
  )
  t.strictSame(await store.discard(ids), [])
})

t.test('pages go from the newest to the oldest, each entry once, whatever happens in between', async t => {
  const { vault, store } = await build(t)
  const ids: string[] = []
  for (let n = 0; n < 3; n++)
    ids.push(...(await quarantine(vault, loginBodies(4), { prefix: `m${n}`, reason: n === 1 ? 'b' : 'a' })))
  const seen: string[] = []
  for (let before: string | undefined; ; ) {
    const page = await store.listEntries({ state: 'quarantined' }, { limit: 5, before })
    seen.push(...page.map(({ id }) => id))
    if (page.length < 5) break
    before = page.at(-1)!.id
    if (seen.length === 5) await store.discard([before])
  }
  t.strictSame(seen.toSorted(), ids.toSorted())
  t.strictSame(new Set(seen.slice(0, 4)), new Set(ids.slice(8)), 'newest first')
  const filtered = await store.listEntries({ state: 'quarantined', reason: 'b' }, { limit: 10 })
  t.ok(filtered.length >= 3 && filtered.every(({ reason }) => reason === 'b'))
})

t.test('ids to redrive go the same way, and what is settled or arrives meanwhile moves no page', async t => {
  const { vault, store } = await build(t)
  const ids: string[] = []
  for (let n = 0; n < 3; n++) ids.push(...(await quarantine(vault, loginBodies(2), { prefix: `m${n}` })))
  const newest = await store.findIds({ state: 'quarantined' }, { limit: 3 })
  t.strictSame(new Set(newest.slice(0, 2)), new Set(ids.slice(4)), 'newest first')
  t.ok(ids.slice(2, 4).includes(newest[2]!))
  t.strictSame((await store.requestRedrive(newest)).toSorted(), newest.toSorted())
  const late = (await quarantine(vault, loginBodies(1), { prefix: 'late' }))[0]!
  await store.discard([newest[2]!])
  const older = await store.findIds({ state: 'quarantined' }, { limit: 10, before: newest[2] })
  t.strictSame([...newest, ...older].toSorted(), ids.toSorted(), 'each once, though the last of the page is settled')
  t.notOk(older.includes(late), 'not what came in between')
})
