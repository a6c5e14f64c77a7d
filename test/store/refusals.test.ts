import t, { type Test } from 'tap'
import { createActionLog, createRefusalCounts } from '../../src/store/action-log.ts'
import type { Action, AuditEvent } from '../../src/vault/admission/ports.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { runActionProcesses } from '../helpers/vault/action-process.ts'
import { makeAction, principalNamed } from '../helpers/vault/actions.ts'

async function build(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const database = vault.database('tokenvault_api', 2)
  const log = createActionLog(database)
  const refusals = createRefusalCounts(database)
  const texts = async () => {
    const { rows } = await admin.query('SELECT event FROM pii_vault.audit_log ORDER BY sequence')
    return rows.map(({ event }) => event.toString() as string)
  }
  const events = async () => (await texts()).map(text => JSON.parse(text) as AuditEvent)
  const passMinute = () => admin.query(`UPDATE pii_vault.refusals SET since = since - interval '1 minute'`)
  return { ...vault, admin, log, refusals, texts, events, passMinute }
}

/** A refusal as the domain makes it. */
function refusal(requestId: string, event: Partial<AuditEvent> = {}, changes: Partial<Omit<Action, 'events'>> = {}) {
  const nothing = { granted: 0, tokens: [], withheld: {} }
  const refused = { decision: 'refused', code: 'role_not_permitted', requested: 3, ...nothing, ...event } as const
  return makeAction(requestId, { givesNothing: true, ...changes }, refused)
}

const sumOf = (events: readonly AuditEvent[]) => events.reduce((sum, { count = 1 }) => sum + count, 0)

t.test(
  'the first refusal is an event at once, and those of the minute after it are one, of the first of them',
  async t => {
    const { log, refusals, texts, passMinute } = await build(t)
    const actions = ['a', 'b', 'c', 'd'].map((name, place) =>
      refusal(name, {
        requested: 10 ** place,
        purpose: `purpose_${name}`,
        at: `2026-01-02T03:04:0${place}.000Z`,
        policy: 'p',
      }),
    )
    const [first, second] = actions.map(({ events }) => JSON.stringify(events.admitted))
    t.match(await log.commit(actions[0]!), { sequence: 0 })
    for (const action of actions.slice(1))
      t.strictSame(await log.commit(action), { admission: { allowed: true }, isCounted: true })
    await refusals.fold()
    t.strictSame(await texts(), [first], 'the minute is not over')
    await passMinute()
    await refusals.fold()
    const folded = second!
      .replace('"requested":10', '"requested":1110')
      .replace(/\}$/, ',"count":3,"until":"2026-01-02T03:04:03.000Z"}')
    t.strictSame(await texts(), [first, folded], 'byte for byte')
    t.match(await log.commit(actions[0]!), { sequence: 2 }, 'a new minute begins with an event')
    await log.commit(actions[1]!)
    await passMinute()
    await log.commit(actions[2]!)
    const [, , , one, ...rest] = await texts()
    t.equal(one, second, 'what was counted goes before what comes; a single one is an event as any other')
    t.strictSame(rest, [JSON.stringify(actions[2]!.events.admitted)])
  },
)

t.test('a database clock that is set back keeps no refusal out of the log', async t => {
  const { log, refusals, events, admin } = await build(t)
  const setBack = () => admin.query(`UPDATE pii_vault.refusals SET since = since + interval '2 hours'`)
  await log.commit(refusal('a'))
  await log.commit(refusal('b'))
  await setBack()
  t.match(await log.commit(refusal('c')), { sequence: 2 }, 'it begins a minute of its own')
  await log.commit(refusal('d'))
  await setBack()
  await refusals.fold()
  t.strictSame(
    (await events()).map(({ requestId }) => requestId),
    ['a', 'b', 'c', 'd'],
  )
})

t.test('refusals are counted together whatever JWT, application or actor they come with', async t => {
  const { log, events, refusals } = await build(t)
  const casey = principalNamed('casey')
  for (const [place, client] of ['desk', 'mobile', 'batch'].entries()) {
    const known = { client, actor: { subject: `${client}-backend` }, jwt: `digest-${place}` }
    const principal = { ...casey, client, actor: known.actor, jwtId: `jti-${place}` }
    await log.commit(refusal(client, known, { principal }))
  }
  await refusals.fold({ everything: true })
  t.match(await events(), [
    { format: 2, requestId: 'desk', client: 'desk', jwt: 'digest-0', channel: 'http' },
    {
      ...{ format: 2, requestId: 'mobile', client: 'mobile', actor: { subject: 'mobile-backend' }, jwt: 'digest-1' },
      ...{ channel: 'http', count: 2, requested: 6 },
    },
  ])
  t.equal((await events()).length, 2)
})

t.test('what is counted together: a principal, an operation, a decision and its reason', async t => {
  const { log, events, refusals } = await build(t)
  const kinds = [
    refusal('1'),
    refusal('2', {}, { principal: principalNamed('other') }),
    refusal('3', {}, { principal: principalNamed('casey', 'https://other.test') }),
    refusal('4', { type: 'tokenize' }),
    refusal('5', { code: 'purpose_not_permitted' }),
    refusal('6', { type: 'approval_list', decision: 'permitted' }),
    refusal('7', { type: 'approval_show', decision: 'permitted', withheld: { approval_unknown: 1 } }),
    makeAction('8', { change: { kind: 'use_approval', id: 'none', digest: 'none' } }),
  ]
  for (const round of [1, 2, 3]) {
    const committed = await Promise.all(kinds.map(action => log.commit(action)))
    t.equal(committed.filter(action => 'isCounted' in action).length, round === 1 ? 0 : kinds.length, `round ${round}`)
  }
  await log.commit(makeAction('given'))
  await log.commit(makeAction('given'))
  t.equal((await events()).length, kinds.length + 2, 'what gives something is never counted')
  await refusals.fold({ everything: true })
  const counts = (await events()).slice(kinds.length + 2).map(({ requestId, count }) => `${requestId} ${count}`)
  t.strictSame(counts.sort(), ['1 2', '2 2', '3 2', '4 2', '5 2', '6 2', '7 2', '8 2'])
})

t.test('the suspended and those over a budget are counted, and each suspension is an event', async t => {
  const { log, events, refusals } = await build(t)
  const { issuer, subject } = principalNamed('casey')
  const minute = makeAction('minute', { charge: { values: 2, perMinute: 1 } })
  const day = makeAction('day', { charge: { values: 2, perDay: 1 } })
  const lift = makeAction('lift', {
    principal: principalNamed('admin'),
    change: { kind: 'lift_suspension', issuer, subject },
  })
  for (const action of [minute, minute, minute, day, day, minute, lift, day, day, lift]) await log.commit(action)
  await refusals.fold({ everything: true })
  const told = (await events()).map(({ requestId, code, count }) => `${requestId} ${code ?? ''} ${count ?? ''}`.trim())
  t.strictSame(told.slice(0, 6), [
    ...['minute budget_exceeded', 'day budget_exceeded', 'day principal_suspended', 'lift'],
    ...['day budget_exceeded', 'lift'],
  ])
  t.strictSame(told.slice(6).sort(), ['minute budget_exceeded 2', 'minute principal_suspended 2'].sort())
})

t.test('1,000 refusals in a minute by two processes are two events and no less, also where one is killed', async t => {
  for (const killedAfter of [undefined, 200]) {
    const { urlFor, events, refusals, admin } = await build(t)
    const job = { url: urlFor('tokenvault_api'), actions: 500, callers: 5, givesNothing: true }
    const reports = await runActionProcesses(t, [
      { ...job, name: 'p0' },
      { ...job, name: 'p1', ...(killedAfter && { killedAfter }) },
    ])
    const answered = reports.reduce((sum, { committed, counted }) => sum + committed.length + counted, 0)
    // The killed process was answered 200 times; of its five last calls nobody knows before the database is read.
    t.equal(answered, killedAfter === undefined ? 1000 : 700)
    await refusals.fold({ everything: true })
    const ofCasey = (await events()).filter(({ subject }) => subject === 'casey')
    t.equal(ofCasey.length, 2)
    const sum = sumOf(ofCasey)
    t.ok(killedAfter === undefined ? sum === 1000 : sum >= answered && sum <= answered + 5, `${sum} of ${answered}`)
    t.strictSame((await admin.query('SELECT FROM pii_vault.refusals')).rowCount, 0)
  }
})
