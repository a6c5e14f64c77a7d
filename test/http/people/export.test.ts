import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { startVaultApi } from '../../helpers/http/vault-api.ts'

const policy = readFileSync(new URL('../../../deploy/policy.yaml', import.meta.url), 'utf8')
const desk = { sub: 'dora', roles: ['privacy', 'investigator'] }
const casey = { sub: 'casey', roles: ['investigator'] }
const purpose = 'data_subject_request'

t.test('the file of a person is written whole, and the verifier key alone shows each change of it', async t => {
  const environment = { CHECKPOINT_SECONDS: '1' }
  const api = await startVaultApi(t, { policy, originals: 2, environment })
  const admin = await api.vault.connect()
  await admin.query('INSERT INTO user_logins (user_id, locale, masked_ip, create_date) VALUES ($1, $2, $3, $4)', [
    'user-1',
    '=cmd|"x"',
    api.tokens[1],
    '2026-01-31',
  ])
  await api.call(casey, 'POST', '/v1/detokenize', { purpose: 'fraud_investigation', tokens: [api.tokens[1]] })
  const auditor = { sub: 'ada', roles: ['auditor'] }
  let verifierKey = ''
  for (let covers = false; !covers; ) {
    const { json } = await api.call(auditor, 'GET', '/v1/audit/checkpoint')
    covers = json['treeSize'] > 0
    verifierKey = json['verifierKey']
  }
  const folder = temporaryDirectory(t)
  const [jwt, out] = [join(folder, 'jwt'), join(folder, 'file')]
  writeFileSync(jwt, await signJwt(api.key, desk))
  const person = (...args: string[]) => runInProcess(['person', ...args])
  const make = (directory: string, ...options: string[]) =>
    person(
      'export',
      'user-1',
      '--url',
      api.origin,
      '--jwt-file',
      jwt,
      '--purpose',
      purpose,
      '--out',
      directory,
      ...options,
    )
  const check = (directory: string) => person('check', directory, '--key', verifierKey)

  t.match(await make(out), { code: 0, stderr: '' })
  t.strictSame(readdirSync(folder).sort(), ['file', 'jwt'], 'nothing beside it')
  t.equal(statSync(out).mode & 0o777, 0o700)
  for (const name of readdirSync(out)) t.equal(statSync(join(out, name)).mode & 0o777, 0o600, name)
  const read = (name: string) => readFileSync(join(out, name), 'utf8')
  t.match(read('values.csv'), /\r\nip,ip_v1_[\w-]{22},10\.0\.0\.1\r\n/)
  t.match(read('rows.csv'), /,"'=cmd\|""x""",/, 'no formula')
  t.match(read('access.csv'), /fraud_investigation.*staff-\d/)
  t.notMatch(read('report.json'), /casey|dora/)
  t.match(await check(out), { code: 0, stdout: /is genuine[\s\S]*access log: 2 events, [12] proven/ })
  t.match(await make(out), { code: 2, stderr: /usage/ }, 'never over another')

  const named = join(folder, 'named')
  t.match(await make(named, '--names'), { code: 0 })
  t.match(readFileSync(join(named, 'report.json'), 'utf8'), /casey/)
  t.match(await check(named), { code: 0 })
  for (const name of ['report.json', 'statement.note', 'values.csv', 'access.csv']) {
    const whole = readFileSync(join(named, name), 'utf8')
    writeFileSync(join(named, name), whole.replace(/[b-y](?=[^b-y]*$)/, 'a'))
    t.match(await check(named), { code: 1, stderr: /person_report_invalid/ }, name)
    writeFileSync(join(named, name), whole)
  }
  t.match(await check(named), { code: 0 })

  const types = (await api.events()).map(({ type, decision }) => `${type} ${decision}`)
  t.equal(types.filter(type => type === 'person_export permitted').length, 2)
  t.notOk(api.logged().includes('user-1'))
})

t.test('the file needs what its values need: a role, and an approval', async t => {
  const strict = policy.replace('      fields: []', '      fields: [ip]')
  const api = await startVaultApi(t, { policy: strict, originals: 1 })
  const ask = (caller: { sub: string; roles: string[] }, change: object = {}) =>
    api.call(caller, 'POST', '/v1/people/export', { userId: 'user-0', purpose, ...change })
  t.match(await ask(casey), { status: 403, json: { code: 'role_not_permitted' } })
  t.match(await ask({ sub: 'pat', roles: ['privacy'] }), { status: 403, json: { code: 'role_not_permitted' } })
  t.match((await ask(desk, { userId: 'nobody' })).json, { code: 'person_unknown' })
  const pending = await ask(desk)
  t.match(pending, { status: 202, json: { approval: { state: 'pending' } } })
  t.notOk('report' in pending.json)
  const { id } = pending.json['approval']
  await api.call({ sub: 'robin', roles: ['approver'] }, 'POST', `/v1/approvals/${id}/decision`, { decision: 'approve' })
  t.match(await ask(desk, { approvalId: id }), { status: 200, json: { report: /10\.0\.0\.0/ } })
  t.match((await ask(desk, { approvalId: id })).json, { code: 'approval_unusable' }, 'once')
})
