import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import t, { type Test } from 'tap'
import { matchGolden, readGolden } from '../helpers/golden/golden.ts'
import {
  decideApproval,
  fetchCalmly,
  issuer,
  routes,
  runInProcess,
  signJwt,
  temporaryDirectory,
} from '../helpers/golden/seams.ts'
import { createGoldenDatabase, startGoldenApi } from '../helpers/golden/world.ts'

/** Roles by what they run into. */
const policy = `
version: 1
roles:
  investigator:
    reveal: { "*": full }
    tokenize: [ip]
    purposes: [fraud_investigation, account_recovery]
    batch_limit: 6
    approval: { above: 3 }
  support: { reveal: { ip: partial }, purposes: [customer_support], ticket: required }
  hasty: { reveal: { "*": full }, purposes: ["*"], budget: { per_minute: 1 } }
  thief: { reveal: { "*": full }, tokenize: ["*"], purposes: ["*"], budget: { per_day: 1 } }
  migrator: { crosswalk: [ip], purposes: [migration], ticket: required, batch_limit: 6 }
  filer: { store: [ip], store_by_default: true, purposes: [fraud_investigation], batch_limit: 6 }
  analyst: {}
  auditor: { audit: true, budget: { per_minute: 1 } }
  operator: { quarantine: true }
  approver: { approve: true }
  administrator: { suspensions: true }
`

type Golden = Record<string, { status: number; code?: string; event?: string }>
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

interface Original {
  readonly id: string
  readonly field: string
  readonly sealed: string
}

type World = Awaited<ReturnType<typeof startWorld>>
type Route = readonly [method: string, path: string]

/** What an earlier version left: originals, quarantined entries, and a log with a signed checkpoint. */
async function fillDatabase(admin: pg.Client) {
  const { originals, logins } = readGolden<{ originals: Original[]; logins: Record<string, string>[] }>('worker')
  const [anna, bo, , dora] = logins.map(({ masked_ip: ip = '', masked_device_id: device = '' }) => ({ ip, device }))
  for (const [n, { id, field, sealed }] of originals.entries()) {
    await admin.query(
      `INSERT INTO pii_vault.originals (token_id, field, token_key_version, data_key_version, sealed)
       VALUES ($1, $2, 1, 1, decode($3, 'base64'))`,
      // Dora's device is the third: somebody put the value of another row there.
      [id, field, n === 2 ? originals[0]!.sealed : sealed],
    )
  }
  const entries = readGolden<{ id: string; body: string | null; sealed: string }[]>('quarantined')
  for (const [index, { id, sealed }] of entries.entries()) {
    await admin.query(
      `INSERT INTO pii_vault.quarantine (id, message_id, event_index, reason, data_key_version, sealed, sent_on, created_at)
       VALUES ($1, $2, 0, 'ip_invalid', 1, decode($3, 'base64'), '2026-01-02', timestamptz '2026-01-02' + $4 * interval '1 second')`,
      [id, `message-${index}`, sealed, index],
    )
  }
  // A log that has a signed checkpoint: one that another process of ours made.
  const tree = readGolden<{ events: string[]; checkpoints: { size: number; note: string }[] }>('tree')
  for (const event of tree.events)
    await admin.query('SELECT pii_vault.append_audit(ARRAY[$1::bytea])', [Buffer.from(event)])
  const [{ size, note } = { size: 0, note: '' }] = tree.checkpoints
  await admin.query('INSERT INTO pii_vault.checkpoints (tree_size, note) VALUES ($1, $2)', [size, note])
  return { anna: anna!, bo: bo!, dora: dora!, entries, tree }
}

/** Whoever does more than ask for values comes by an application, behind which a service acts: their JWTs say so. */
function claimsOf(who: string) {
  const [sub, ...roles] = who.split(' ')
  if (!roles.some(role => ['auditor', 'operator', 'approver', 'administrator'].includes(role))) return { sub, roles }
  return { sub, roles, azp: 'desk', act: { iss: issuer, sub: 'desk-backend' }, jti: `jwt of ${sub}` }
}

/** `tokenvault api` over such a database. `call` makes a call as `<subject> <role> …`. */
async function startApi(t: Test) {
  const { vault, admin } = await createGoldenDatabase(t)
  const kept = await fillDatabase(admin)
  const policyFile = join(temporaryDirectory(t), 'policy.yaml')
  writeFileSync(policyFile, policy)
  const { key, origin } = await startGoldenApi(t, vault, { POLICY_FILE: policyFile, CHECKPOINT_SECONDS: '86400' })
  const call = async (who: string, [method, path]: Route, body?: object) => {
    const reply = await fetchCalmly(`${origin}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${await signJwt(key, claimsOf(who))}`,
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
    })
    return { status: reply.status, json: (await reply.json()) as Record<string, unknown> }
  }
  return { admin, key, origin, call, ...kept }
}

/** The API, and what its calls are answered and leave in the log. */
async function startWorld(t: Test) {
  const api = await startApi(t)
  const { admin, call, tree } = api
  const golden: Golden = {}
  let seen = tree.events.length
  const ids: string[] = []
  const newEvents = async () => {
    // What the minute's repeats of a refusal become has tests of its own: here each call is the first of its kind.
    await admin.query('SELECT pii_vault.fold_refusals(true)')
    const { rows } = await admin.query<{ text: string }>(
      `SELECT convert_from(event, 'UTF8') AS text FROM pii_vault.audit_log ORDER BY sequence OFFSET $1`,
      [seen],
    )
    seen += rows.length
    return rows.map(({ text }) => {
      const { at, requestId, approval } = JSON.parse(text)
      t.match(at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
      t.match(requestId, uuid)
      if (approval !== undefined && !ids.includes(approval)) ids.push(t.match(approval, uuid) && approval)
      // Byte for byte, but for what is new each time; a string in single quotes reads better in JSON.
      return text
        .replace(`"at":"${at}"`, '"at":"(time)"')
        .replace(`"requestId":"${requestId}"`, '"requestId":"(uuid)"')
        .replace(`"approval":"${approval}"`, `"approval":"(approval ${ids.indexOf(approval) + 1})"`)
        .replaceAll('"', "'")
    })
  }
  /** What a call is answered in short, and the events that it left. */
  const expect = async (title: string, who: string, route: Route, body?: object) => {
    const { status, json } = await call(who, route, body)
    t.notOk(title in golden, title)
    const code = json['code'] as string | undefined
    // Each call is as if its caller had taken nothing before; what the windows of approvals count has tests of its own.
    await admin.query('TRUNCATE pii_vault.taken_without_approval')
    const [event, ...more] = await newEvents()
    t.strictSame(more, [], 'at most one event a call')
    golden[title] = { status, ...(code && { code }), ...(event && { event }) }
    return json
  }
  return { ...api, expect, newEvents, golden }
}

const purpose = 'fraud_investigation'
const unknown = 'ip_v1_AAAAAAAAAAAAAAAAAAAAAA'
const ip = { field: 'ip', value: '199.172.111.135' }

async function detokenizing(t: Test, { expect, anna, bo, dora }: World) {
  const mixed = [
    anna.ip,
    unknown,
    'x',
    anna.device.replace('device_id', 'ip'),
    dora.device,
    bo.ip.replace('_v1_', '_v2_'),
  ]
  const detokenize = (title: string, who: string, body: object) =>
    expect(`detokenize: ${title}`, who, routes.detokenize(), { purpose, ...body })
  const opened = await detokenize('all given, one twice', 'casey investigator', {
    tokens: [anna.ip, bo.device, anna.ip],
  })
  t.strictSame(
    (opened['results'] as { value: string }[]).map(({ value }) => value),
    ['199.172.111.135', 'Ä-ẞ 7', '199.172.111.135'],
    'originals that an earlier version sealed open',
  )
  t.strictSame(Object.keys(opened['receipt'] as object), ['log', 'sequence', 'leafHash', 'signature'])
  await detokenize('each reason to withhold', 'casey hasty support', { tokens: mixed.slice(1), ticket: 'SEC-1' })
  await detokenize('a field not permitted', 'kim support', {
    ...{ purpose: 'customer_support', ticket: 'SUP-12', tokens: [anna.ip, anna.device, bo.ip, dora.ip] },
  })
  await detokenize('atomic, and one fails', 'casey investigator', { tokens: [anna.ip, unknown], atomic: true })
  await detokenize('a role that may not', 'ann analyst', { tokens: [anna.ip] })
  await detokenize('a purpose that is not permitted', 'casey investigator', {
    tokens: [anna.ip],
    purpose: 'curiosity',
  })
  await detokenize('no ticket', 'kim support', { tokens: [anna.ip], purpose: 'customer_support' })
  await detokenize('more than a call may hold', 'casey investigator', { tokens: Array(7).fill(anna.ip) })
  const previewed = { tokens: [...mixed, bo.device], dryRun: true }
  await detokenize('preview, some withheld', 'casey hasty support', { ...previewed, ticket: 'SEC-1' })
  await detokenize('preview of an atomic call that would fail', 'casey investigator', {
    ...{ tokens: [anna.ip, unknown], atomic: true, dryRun: true },
  })
  await detokenize('preview by a role that may not', 'ann analyst', { tokens: [anna.ip], dryRun: true })
  await detokenize('within a budget of a minute', 'henry hasty', { tokens: [anna.ip] })
  await detokenize('over a budget of a minute', 'henry hasty', { tokens: [bo.ip] })
  await detokenize('over a budget of a day', 'theo thief', { tokens: [anna.ip, bo.ip] })
  await detokenize('suspended', 'theo thief', { tokens: [anna.ip] })
  await detokenize('preview, suspended', 'theo thief', { tokens: [anna.ip], dryRun: true })
  await expect('detokenize: without a purpose', 'casey investigator', routes.detokenize(), { tokens: [anna.ip] })
}

async function approving(t: Test, { admin, expect, call, key, origin, newEvents, anna, bo, dora }: World) {
  const detokenize = (title: string, who: string, body: object) =>
    expect(`detokenize: ${title}`, who, routes.detokenize(), { purpose, ...body })
  const many = { tokens: [anna.ip, bo.ip, dora.ip, anna.device], ticket: 'SEC-1234' }
  const idOf = (json: Record<string, unknown>) => (json['approval'] as { id: string }).id
  await detokenize('preview of what needs an approval', 'casey investigator', { ...many, dryRun: true })
  const first = idOf(await detokenize('needs an approval', 'casey investigator', many))
  t.equal(idOf(await detokenize('needs the same approval', 'casey investigator', many)), first)
  await detokenize('not yet approved', 'casey investigator', { ...many, approvalId: first })
  const approval = (title: string, who: string, route: Route, body?: object) =>
    expect(`approval: ${title}`, who, route, body)
  const nowhere = '00000000-0000-4000-8000-000000000000'
  await approval('list', 'robin approver', routes.listApprovals())
  await approval('list of one’s own', 'casey investigator', routes.listApprovals())
  await approval('show', 'robin approver', routes.showApproval(first))
  await approval('show one’s own', 'casey investigator', routes.showApproval(first))
  await approval('show what is another’s', 'kim support', routes.showApproval(first))
  await approval('show what is not there', 'robin approver', routes.showApproval(nowhere))
  const decide = (title: string, who: string, id: string, decision: string) =>
    approval(title, who, ...decideApproval(id, decision))
  await decide('a role that may not', 'kim support', first, 'approve')
  await decide('one’s own', 'casey investigator approver', first, 'approve')
  await decide('what is not there', 'robin approver', nowhere, 'refuse')
  await decide('approve', 'robin approver', first, 'approve')
  await decide('a second time', 'alex approver', first, 'refuse')
  await detokenize('asks again, though approved', 'casey investigator', many)
  await detokenize('another call than was approved', 'casey investigator', {
    ...{ ...many, ticket: 'SEC-1235', approvalId: first },
  })
  await detokenize('approved for another', 'carl investigator', { ...many, approvalId: first })
  await detokenize('approved', 'casey investigator', { ...many, approvalId: first })
  await detokenize('an approval used up', 'casey investigator', { ...many, approvalId: first })
  await detokenize('an approval that is not there', 'casey investigator', { ...many, approvalId: nowhere })
  const second = idOf(await detokenize('needs another approval', 'casey investigator', { ...many, ticket: 'SEC-1' }))
  await decide('refuse', 'robin approver', second, 'refuse')
  await detokenize('an approval refused', 'casey investigator', { ...many, ticket: 'SEC-1', approvalId: second })
  const atomic = { tokens: [...many.tokens, unknown], atomic: true }
  const third = idOf(await detokenize('atomic, needs an approval', 'casey investigator', atomic))
  await decide('approve what will fail', 'robin approver', third, 'approve')
  await detokenize('atomic, approved, and one fails', 'casey investigator', { ...atomic, approvalId: third })
  const jwtFile = join(temporaryDirectory(t), 'jwt')
  writeFileSync(jwtFile, await signJwt(key, { sub: 'cleo', roles: ['investigator'] }))
  const command = ['detokenize', ...many.tokens, '--purpose', purpose, '--url', origin, '--jwt-file', jwtFile]
  t.equal((await runInProcess(command)).code, 3, 'the exit code of a command that waits for an approval')
  await call('greta investigator', routes.detokenize(), { purpose, ...many })
  await newEvents()
  await admin.query(`INSERT INTO pii_vault.approvals (id, principal, issuer, subject, roles, purpose, reveal, "values",
      fields, digest, state, created_at, expires_at)
    SELECT gen_random_uuid(), principal, issuer, subject, roles, purpose, reveal, "values", fields, 'of another call', state,
      created_at, expires_at FROM pii_vault.approvals, generate_series(1, 99) WHERE subject = 'greta'`)
  await detokenize('too many approvals asked for', 'greta investigator', { ...many, ticket: 'SEC-100' })
}

async function tokenizing(t: Test, { expect, anna }: World) {
  const tokenize = (title: string, who: string, values: object[], body: object = {}) =>
    expect(`tokenize: ${title}`, who, routes.tokenize(), { purpose, values, ...body })
  const made = await tokenize('all given, one twice', 'casey investigator', [ip, ip])
  t.match((made['results'] as object[])[0], { token: anna.ip })
  await tokenize('each reason to withhold', 'casey investigator', [
    ...[ip, { field: 'ip', value: '999.1.1.1' }, { field: 'device_id', value: 'x' }, { field: 'nope', value: 'x' }],
  ])
  await tokenize('a role that may not', 'kim support', [ip], { purpose: 'customer_support', ticket: 'SUP-1' })
  await tokenize('a purpose that is not permitted', 'casey investigator', [ip], { purpose: 'curiosity' })
  await tokenize('more than a call may hold', 'casey investigator', Array(7).fill(ip))
  await tokenize('suspended', 'theo thief', [ip])
  await tokenize('atomic, and one fails', 'casey investigator', [ip, { field: 'ip', value: 'x' }], { atomic: true })
  const kept = { store: true }
  const stored = await tokenize('store: all stored, one twice', 'fay filer', [ip, ip], kept)
  t.match((stored['results'] as object[])[0], { token: anna.ip })
  await tokenize('store: by default', 'fay filer', [ip])
  await tokenize('store: each reason to withhold', 'fay filer', [
    ...[ip, { field: 'ip', value: '999.1.1.1' }, { field: 'device_id', value: 'x' }, { field: 'nope', value: 'x' }],
  ])
  await tokenize('store: atomic, and one fails', 'fay filer', [ip, { field: 'ip', value: 'x' }], { atomic: true })
  await tokenize('store: a role that may not', 'casey investigator', [ip], kept)
  await tokenize('store: a purpose that is not permitted', 'fay filer', [ip], { ...kept, purpose: 'curiosity' })
}

async function crosswalking(t: Test, { expect, anna }: World) {
  const migration = { purpose: 'migration', ticket: 'MIG-1', field: 'ip', scheme: 'sha256' }
  const crosswalk = (title: string, who: string, body: object = {}) =>
    expect(`crosswalk: ${title}`, who, routes.crosswalk(), { ...migration, ...body })
  const given = await crosswalk('all of a field', 'mia migrator')
  const hash = createHash('sha256').update('199.172.111.135').digest('hex')
  t.match(
    (given['pairs'] as { hash: string }[]).find(pair => pair.hash === hash),
    { token: anna.ip },
    'values that an earlier version stored',
  )
  await crosswalk('under a key', 'mia migrator', { scheme: 'hmac-sha256', hmacKey: 'a2V5', limit: 1 })
  await crosswalk('a field not permitted', 'mia migrator', { field: 'device_id' })
  await crosswalk('no ticket', 'mia migrator', { ticket: undefined })
  await crosswalk('a role that may not', 'casey investigator')
  await crosswalk('more than a call may hold', 'mia migrator', { limit: 7 })
}

async function suspending(_: Test, { expect }: World) {
  const suspension = (title: string, who: string, route: Route, body?: object) =>
    expect(`suspension: ${title}`, who, route, body)
  await suspension('list', 'ada administrator', routes.listSuspensions())
  await suspension('list by a role that may not', 'ann analyst', routes.listSuspensions())
  await suspension('lift by a role that may not', 'ann analyst', routes.liftSuspension(), { issuer, subject: 'theo' })
  await suspension('lift what is none', 'ada administrator', routes.liftSuspension(), { issuer, subject: 'nobody' })
  await suspension('lift', 'ada administrator', routes.liftSuspension(), { issuer, subject: 'theo' })
}

async function readingQuarantine(t: Test, { expect, entries }: World) {
  const [open, other, unreadable] = entries.map(({ id }) => id)
  const quarantine = (title: string, who: string, route: Route, body?: object) =>
    expect(`quarantine: ${title}`, who, route, body)
  const both = 'olga operator investigator'
  await quarantine('list', 'olga operator', routes.listQuarantine())
  await quarantine('list by a role that may not', 'casey investigator', routes.listQuarantine())
  await quarantine('show', 'olga operator', routes.showQuarantined(open!))
  await quarantine('show by a role that may not', 'ann analyst', routes.showQuarantined(open!))
  await quarantine('show what is not there', 'olga operator', routes.showQuarantined(open!.replace('a', 'b')))
  const body = await quarantine('open', both, routes.openQuarantined(open!), { purpose })
  t.equal(body['body'], entries[0]!.body, 'a body that an earlier version sealed opens')
  await quarantine('open by a role that may not', 'olga operator', routes.openQuarantined(open!), { purpose })
  await quarantine('open for another purpose', both, routes.openQuarantined(open!), { purpose: 'curiosity' })
  await quarantine('open what was altered', both, routes.openQuarantined(unreadable!), { purpose })
  await quarantine('open what is not there', both, routes.openQuarantined(open!.replace('a', 'b')), { purpose })
  await quarantine('redrive', 'olga operator', routes.redriveQuarantined(open!))
  await quarantine('redrive by a role that may not', 'ann analyst', routes.redriveQuarantined(open!))
  await quarantine('redrive what is not there', 'olga operator', routes.redriveQuarantined(open!.replace('a', 'b')))
  await quarantine('redrive all', 'olga operator', routes.redriveAll(), {})
  await quarantine('discard', 'olga operator', routes.discardQuarantined(other!))
  await quarantine('discard by a role that may not', 'ann analyst', routes.discardQuarantined(open!))
  await quarantine('discard again', 'olga operator', routes.discardQuarantined(other!))
  await quarantine('open what was discarded', both, routes.openQuarantined(other!), { purpose })
  await quarantine('redrive what was discarded', 'olga operator', routes.redriveQuarantined(other!))
}

async function readingEvidence(t: Test, { expect, anna, tree }: World) {
  const [checkpoint] = tree.checkpoints
  const audit = (title: string, who: string, route: Route, body?: object) => expect(`audit: ${title}`, who, route, body)
  await audit('search by a token', 'otto auditor', routes.searchAudit(), { purpose, where: { token: anna.ip } })
  await audit('search by a value', 'otto auditor', routes.searchAudit(), { purpose, where: ip })
  const where = {
    ...{
      subject: 'casey',
      issuer,
      client: 'nobody’s',
      purpose,
      decision: 'permitted',
      field: 'ip',
      type: 'detokenize',
    },
    ...{ from: '2026-03-01T00:00:00+01:00', to: '2126-03-01T00:00:00Z', ticket: 'SEC-1', code: 'budget_exceeded' },
  }
  await audit('search that finds nothing', 'otto auditor', routes.searchAudit(), { purpose, where })
  const { subject, from } = where
  await audit('search that finds something', 'otto auditor', routes.searchAudit(), {
    purpose,
    where: { subject, issuer, from },
  })
  await audit('search over the budget', 'otto auditor', routes.searchAudit(), { purpose, where: ip })
  await audit('search by a role that may not', 'ann analyst', routes.searchAudit(), {
    purpose,
    where: { token: anna.ip },
  })
  await audit('newest checkpoint', 'otto auditor', routes.newestCheckpoint())
  await audit('newest checkpoint by a role that may not', 'ann analyst', routes.newestCheckpoint())
  const proof = await audit('proof', 'otto auditor', routes.proveEvent('0'))
  t.match(proof, { event: tree.events[0], checkpoint: checkpoint!.note })
  await audit('proof of what is in no checkpoint', 'otto auditor', routes.proveEvent('1000000'))
  await audit('proof of growth from what is no checkpoint', 'otto auditor', routes.proveGrowth('3'))
  await audit('proof of growth', 'otto auditor', routes.proveGrowth(String(checkpoint!.size)))
}

t.test('every operation and outcome leaves the event that it always left', { timeout: 110_000 }, async t => {
  const world = await startWorld(t)
  // In this order: who is suspended by one is refused by the next.
  for (const scene of [
    detokenizing,
    approving,
    tokenizing,
    crosswalking,
    suspending,
    readingQuarantine,
    readingEvidence,
  ])
    await scene(t, world)
  const { rows: approvals } = await world.admin.query(
    `SELECT digest, reveal, "values"::int, fields FROM pii_vault.approvals WHERE subject = 'casey' ORDER BY created_at`,
  )
  matchGolden(t, 'events', { events: world.golden, approvals })
})
