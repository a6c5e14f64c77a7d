import t, { type Test } from 'tap'
import { clearProperties } from '../../../src/ingest/events/login-event.ts'
import { createActionLog } from '../../../src/store/action-log.ts'
import { createQuarantineStore } from '../../../src/store/quarantine.ts'
import { createOpenAction } from '../../../src/vault/admission/open-action.ts'
import type { ActionLog } from '../../../src/vault/admission/ports.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { parsePolicyFile } from '../../../src/vault/files/policy-file.ts'
import { createOpenQuarantined } from '../../../src/vault/quarantine/sealed-bodies.ts'
import { createQuarantineVerbs } from '../../../src/vault/quarantine/verbs.ts'
import { noQuarantine, post, startApp } from '../../helpers/http/http-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'
import { loginBodies, poison } from '../../helpers/queue/events.ts'
import { running as never } from '../../helpers/queue/worker.ts'
import { buildRedriver, ingest, quarantine, readState } from '../../helpers/vault/quarantine.ts'
import { shippedPolicy } from '../../helpers/vault/shipped-policy.ts'

/** The real app over a real database, as the API's role; tokens of both verbs are not asked for. */
async function build(t: Test, change: (log: ActionLog) => ActionLog = log => log, policy = () => shippedPolicy) {
  const vault = await createVaultDatabase(t)
  const database = vault.database('tokenvault_api', 2)
  const verbs = createQuarantineVerbs({
    fields: loginFields,
    clearProperties,
    store: createQuarantineStore(database),
    openQuarantined: createOpenQuarantined(vault.keys),
    openAction: createOpenAction({
      log: change(createActionLog(database)),
      keys: vault.keys,
      policy,
    }),
  })
  const app = await startApp(t, {
    verbs: { detokenize: noQuarantine.list as never, tokenize: noQuarantine.list as never, quarantine: verbs },
  })
  const call = async (method: 'GET' | 'POST', path: string, options: { roles?: string[]; body?: object } = {}) => {
    const jwt = await signJwt(app.key, { roles: options.roles ?? ['operator'] })
    const reply =
      method === 'GET' || options.body === undefined
        ? await fetch(`${app.origin}/v1/quarantine${path}`, { method, headers: { authorization: `Bearer ${jwt}` } })
        : await post(app, `/v1/quarantine${path}`, options.body, { jwt })
    const text = await reply.text()
    return { status: reply.status, text, json: JSON.parse(text) }
  }
  const auditor = await vault.connect('tokenvault_auditor')
  const evidence = async () =>
    (
      await auditor.query(
        'SELECT type, subject, purpose, decision, code, requested, granted, quarantine, withheld FROM pii_vault.audit_events ORDER BY sequence',
      )
    ).rows
  return { vault, app, call, evidence }
}

t.test('an operator lists and shows every kind of poison, and nothing of a body is in reply or log', async t => {
  const { vault, app, call, evidence } = await build(t)
  await ingest(
    vault,
    poison.map(({ body }, n) => ({ messageId: `m-${n}`, body, sentAtMs: Date.now() })),
  )
  const { status, text, json } = await call('GET', '')
  t.equal(status, 200)
  t.strictSame(
    json.entries.map((entry: { reason: string }) => entry.reason).toSorted(),
    poison.map(({ reason }) => reason).toSorted(),
  )
  t.equal(json.next, undefined)
  let shown = ''
  for (const { id } of json.entries) {
    const reply = await call('GET', `/${id}`)
    t.equal(reply.status, 200)
    t.match(reply.json, { id, state: 'quarantined', shape: { json: String } })
    shown += reply.text
  }
  t.notMatch(text + shown + app.logged(), /canary|593-47|"foo"/)
  t.match(shown, /"shape":\{"json":"object","properties":\[\{"name":"user_id","type":"string"\}/)
  t.match(await call('GET', '?reason=ip_invalid&limit=5'), {
    json: { entries: [{ reason: 'ip_invalid', messageId: 'm-7' }] },
  })
  t.strictSame(await evidence(), [], 'looking at shapes leaves no evidence')
})

t.test('pages are asked for by the id of the last entry', async t => {
  const { vault, call } = await build(t)
  const ids = await quarantine(vault, loginBodies(5))
  const first = (await call('GET', '?limit=3')).json
  t.equal(first.next, first.entries[2].id)
  const second = (await call('GET', `?limit=3&before=${first.next}`)).json
  t.equal(second.next, undefined)
  t.strictSame([...first.entries, ...second.entries].map(({ id }) => id).toSorted(), ids.toSorted())
})

t.test('every operation refuses every other role, and that is evidence', async t => {
  const { vault, call, evidence } = await build(t)
  const [id] = await quarantine(vault, loginBodies(1))
  const operations = [
    ['GET', '', undefined, 'quarantine_list'],
    ['GET', `/${id}`, undefined, 'quarantine_show'],
    ['POST', `/${id}/redrive`, undefined, 'quarantine_redrive'],
    ['POST', '/redrive', {}, 'quarantine_redrive'],
    ['POST', `/${id}/discard`, undefined, 'quarantine_discard'],
  ] as const
  for (const [method, path, body, type] of operations) {
    const reply = await call(method, path, { roles: ['investigator', 'analyst', 'auditor'], ...(body && { body }) })
    t.match(reply, { status: 403, json: { code: 'role_not_permitted' } }, path)
    t.match((await evidence()).at(-1), { type, decision: 'refused', code: 'role_not_permitted', granted: 0 })
  }
  for (const roles of [['operator'], ['investigator'], ['operator', 'auditor']]) {
    const reply = await call('POST', `/${id}/open`, { roles, body: { purpose: 'producer_fault' } })
    t.match(reply, { status: 403, json: { code: 'role_not_permitted' } }, `open as ${roles}`)
    t.match((await evidence()).at(-1), { type: 'quarantine_open', purpose: 'producer_fault', decision: 'refused' })
  }
  t.equal((await readState(t, vault)).states[0]!.state, 'quarantined')
})

t.test('opening gives the body as it was sent, audited like a detokenization', async t => {
  const { vault, app, call, evidence } = await build(t)
  const body = '{"ip":"canary-203.0.113.7", "n": 1e400}'
  const [id] = await quarantine(vault, [body])
  const roles = ['operator', 'investigator']
  t.match(await call('POST', `/${id}/open`, { roles, body: {} }), { status: 400, json: { code: 'purpose_missing' } })
  t.match(await call('POST', `/${id}/open`, { roles, body: { purpose: 'IP 1.2' } }), {
    json: { code: 'purpose_invalid' },
  })
  t.strictSame((await call('POST', `/${id}/open`, { roles, body: { purpose: 'producer_fault' } })).json, { id, body })
  t.match(await evidence(), [
    {
      type: 'quarantine_open',
      subject: 'casey',
      purpose: 'producer_fault',
      decision: 'permitted',
      requested: 1,
      granted: 1,
      quarantine: [id],
    },
  ])
  const unknown = '0'.repeat(32)
  const reply = await call('POST', `/${unknown}/open`, { roles, body: { purpose: 'producer_fault' } })
  t.match(reply, { status: 404, json: { code: 'quarantine_unknown' } })
  t.match((await evidence()).at(-1), { granted: 0, withheld: { quarantine_unknown: 1 } })
  const admin = await vault.connect()
  await admin.query('UPDATE pii_vault.quarantine SET sealed = set_byte(sealed, 20, 0) || sealed')
  t.match(await call('POST', `/${id}/open`, { roles, body: { purpose: 'producer_fault' } }), {
    status: 422,
    json: { code: 'quarantine_unreadable' },
  })
  t.match((await call('GET', `/${id}`)).json, { shape: { json: 'unreadable' } })
  t.notMatch(app.logged() + JSON.stringify(await evidence()), /canary/)
})

t.test(
  'a body is as privileged as the values in it may be: level, second person and budget of the policy count',
  async t => {
    const policyOf = (investigator: string) =>
      parsePolicyFile(
        `version: 1\nroles: { operator: { quarantine: true }, investigator: { purposes: ["*"], ${investigator} } }`,
        {
          source: 'policy.yaml',
          fields: loginFields,
        },
      )
    let investigator = 'reveal: { "*": full }, budget: { per_minute: 3 }'
    const { vault, call, evidence } = await build(t, undefined, () => policyOf(investigator))
    const [id, other] = await quarantine(vault, ['canary-body', 'canary-other'])
    const open = (id: string | undefined) =>
      call('POST', `/${id}/open`, { roles: ['operator', 'investigator'], body: { purpose: 'producer_fault' } })
    t.match(await open(id), { status: 200 })
    const refused = await open(other)
    t.match(refused, { status: 429, json: { code: 'budget_exceeded', window: 'minute' } })
    t.notMatch(refused.text, /canary/)
    t.match(await evidence(), [{ decision: 'permitted' }, { decision: 'refused', code: 'budget_exceeded', granted: 0 }])
    const others = ['ip: full', '"*": full, ip: partial'].map(reveal => `reveal: { ${reveal} }`)
    const strict = ['ticket: required', 'approval: { fields: [ip] }', 'approval: { above: 1 }'].map(
      rule => `reveal: { "*": full }, ${rule}`,
    )
    for (investigator of [...others, ...strict])
      t.match(await open(id), { status: 403, json: { code: 'role_not_permitted' } }, investigator)
    investigator = 'reveal: { "*": full }, approval: { above: 3 }'
    const withoutApproval = { above: 3, windowSeconds: 86_400, left: 1 }
    t.match(
      await open(id),
      { status: 403, json: { code: 'approval_required', withoutApproval } },
      'two were taken before',
    )
  },
)

t.test('without evidence no body is given, nothing is redriven and nothing discarded', async t => {
  const { vault, call } = await build(t, () => ({
    commit: async () => {
      throw new Error('the log is away')
    },
  }))
  const [id] = await quarantine(vault, ['canary-body'])
  const opened = await call('POST', `/${id}/open`, {
    roles: ['operator', 'investigator'],
    body: { purpose: 'producer_fault' },
  })
  t.match(opened, { status: 503, json: { code: 'audit_unavailable' } })
  t.notMatch(opened.text, /canary/)
  for (const [path, body] of [[`/${id}/redrive`], ['/redrive', {}], [`/${id}/discard`]] as const)
    t.match(await call('POST', path, { ...(body && { body }) }), { status: 503, json: { code: 'audit_unavailable' } })
  t.match((await readState(t, vault)).states, [{ state: 'quarantined', kept: true }])
})

t.test('what an operator has redriven is stored once, by a worker, and is evidence', async t => {
  const { vault, call, evidence } = await build(t)
  const ids = await quarantine(vault, loginBodies(4))
  t.match(await call('POST', `/${ids[0]}/redrive`), { status: 200, json: { requested: 1 } })
  t.match(await call('POST', `/${ids[0]}/redrive`), { status: 200, json: { requested: 1 } }, 'asking twice is no error')
  t.match((await call('GET', `/${ids[0]}`)).json, { state: 'redrive_requested' })
  t.strictSame((await call('POST', '/redrive', { body: { reason: 'json_invalid' } })).json, { requested: 0 })
  t.strictSame((await call('POST', '/redrive', { body: { reason: 'ip_invalid' } })).json, { requested: 3 })
  t.equal((await buildRedriver(vault).drain(never())).rows, 4)
  t.strictSame((await readState(t, vault)).users, ['user-0', 'user-1', 'user-2', 'user-3'])
  const shown = (await call('GET', `/${ids[0]}`)).json
  t.match(shown, { state: 'redriven', bodyBytes: null, redrives: 1 })
  t.equal(shown.shape, undefined)
  for (const path of ['redrive', 'discard'])
    t.match(await call('POST', `/${ids[0]}/${path}`), { status: 409, json: { code: 'quarantine_settled' } })
  const events = await evidence()
  t.match(events[0], { type: 'quarantine_redrive', subject: 'casey', purpose: '', requested: 1, quarantine: [ids[0]] })
  t.strictSame(events.at(-1).quarantine.toSorted(), ids.slice(1).toSorted())
})

t.test('discarding erases the body, and keeps who and when', async t => {
  const { vault, call, evidence } = await build(t)
  const [id] = await quarantine(vault, loginBodies(1))
  t.match(await call('POST', `/${id}/discard`), { status: 200, json: { id, state: 'discarded' } })
  t.match((await readState(t, vault)).states, [{ state: 'discarded', kept: false }])
  t.match(await evidence(), [{ type: 'quarantine_discard', subject: 'casey', granted: 1, quarantine: [id] }])
  t.match(await call('POST', `/${id}/discard`), { status: 409, json: { code: 'quarantine_settled' } })
  const roles = ['operator', 'investigator']
  t.match(await call('POST', `/${id}/open`, { roles, body: { purpose: 'producer_fault' } }), { status: 409 })
})

t.test('bad input has a code, and reaches no verb', async t => {
  const { call, evidence } = await build(t)
  const id = 'a'.repeat(32)
  t.match(await call('GET', '/NOT-AN-ID'), { status: 400, json: { code: 'request_invalid' } })
  t.match(await call('GET', '?limit=0'), { status: 400, json: { code: 'request_invalid' } })
  t.match(await call('GET', '?limit=1001'), { status: 400 })
  t.match(await call('GET', '?state=lost'), { status: 400, json: { code: 'request_invalid' } })
  t.match(await call('GET', '?reason=%27%3B--'), { status: 400 })
  t.match(await call('GET', '?colour=red'), { status: 400, json: { code: 'property_unknown' } })
  t.match(await call('GET', '?limit=1&limit=2'), { status: 400 })
  t.match(await call('POST', '/redrive', { body: { all: true } }), { status: 400, json: { code: 'property_unknown' } })
  t.match(await call('POST', `/${id}/open`), { status: 400 })
  t.match(await call('GET', `/${id}`), { status: 404, json: { code: 'quarantine_unknown' } })
  t.match(await call('POST', `/${id}/redrive`), { status: 404 })
  t.match(await call('POST', `/${id}/discard`), { status: 404 })
  t.strictSame(await evidence(), [])
})
