import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createProgram } from '../../../src/cli/program.ts'
import { policyPlace, readPolicy, watchPolicy } from '../../../src/compose/policy.ts'
import { createLog } from '../../../src/log.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { decide, type Operation } from '../../../src/vault/policy/policy.ts'
import { runCommand } from '../../helpers/cli/cli.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { shippedPolicy } from '../../helpers/vault/shipped-policy.ts'

const allows = (role: string) => `version: 1\nroles: { ${role}: { reveal: { ip: full }, purposes: ["*"] } }\n`

/** What a command prints, or fails with, in this process: ten processes would take their time. */
async function print(t: Test, args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  Object.assign(process.env, environment)
  const written = t.capture(process.stdout, 'write', () => true)
  try {
    await (await createProgram('policy')).parseAsync(['node', 'tokenvault', 'policy', ...args])
    return written
      .args()
      .map(([text]) => String(text))
      .join('')
  } finally {
    written.restore()
    for (const name of Object.keys(environment)) delete process.env[name]
  }
}

t.test('explain prints the decision and the rule that makes it', async t => {
  const explain = (...args: string[]) => print(t, ['explain', ...args])
  const support = ['--role', 'analyst', '--role', 'support', '--field', 'ip', '--purpose', 'customer_support']
  t.strictSame(await runCommand(t, ['policy', 'explain', ...support, '--ticket']), {
    ...{ code: 0, stderr: '' },
    stdout:
      'partial (role support, deploy/policy.yaml:37)\nlimits: 50 items a call, 10 values a minute, 20 values a day\n',
  })
  t.match(await explain(...support), /^refused: ticket_required\. .* \(role support, deploy\/policy.yaml:39\)\n$/)
  const told = await explain('--role', 'investigator', '--field', 'ip', '--purpose', 'fraud_case', '--json')
  t.strictSame(JSON.parse(told), {
    ...{ roles: ['investigator'], operation: 'detokenize', field: 'ip', purpose: 'fraud_case', ticket: false },
    ...{ level: 'full', needsApproval: false, rule: 'investigator', at: 'deploy/policy.yaml:22' },
    limits: {
      batchLimit: 10_000,
      perMinute: 20_000,
      perDay: 100_000,
      withoutApproval: [{ values: 10, windowSeconds: 3600 }],
    },
    policy: shippedPolicy.digest,
  })
  t.match(readFileSync('deploy/policy.yaml', 'utf8').split('\n')[21], /reveal: .*full/, 'which is that line')
})

t.test('explain reads the files of its variables, and tokenize is asked for', async t => {
  const directory = temporaryDirectory(t)
  const [policy, fields] = [join(directory, 'policy.yaml'), join(directory, 'fields.yaml')]
  writeFileSync(policy, 'version: 1\nroles:\n  typist:\n    tokenize: [email]\n    purposes: [mail_merge]\n')
  writeFileSync(fields, 'version: 1\nfields: [{ name: email, rule: email.v1, column: masked_email }]\n')
  const environment = { POLICY_FILE: policy, FIELDS_FILE: fields }
  const asked = ['explain', '--role', 'typist', '--field', 'email', '--purpose']
  const tokenize = await print(t, [...asked, 'mail_merge', '--operation', 'tokenize'], environment)
  t.equal(tokenize, `permitted (role typist, ${policy}:4)\nlimits: 10000 items a call\n`)
  const other = await print(t, [...asked, 'other', '--operation', 'tokenize', '--json'], environment)
  t.match(JSON.parse(other), { level: 'none', code: 'purpose_not_permitted', at: `${policy}:5` })
  await t.rejects(print(t, [...asked, 'IP 1.2'], environment), { code: 'purpose_invalid' })
  const misfit = print(t, [...asked, 'mail_merge'], { POLICY_FILE: policy })
  await t.rejects(misfit, { code: 'policy_invalid', message: /^policy line 4, column 16: / })
})

t.test('matrix prints every role × field × purpose', async t => {
  const { rows, roles, policy } = JSON.parse(await print(t, ['matrix', '--json']))
  t.equal(policy, shippedPolicy.digest)
  t.equal(rows.length, 11 * 2 * 4)
  for (const { role, field, purpose, detokenize, tokenize, store, crosswalk, translate } of rows) {
    const question = { roles: [role], field, purpose, hasTicket: true } as const
    const levelOf = (operation: Operation) => decide(shippedPolicy, loginFields, { ...question, operation }).level
    t.equal(levelOf('detokenize'), detokenize, `${role} ${field} ${purpose}`)
    const mayOthers = (['tokenize', 'store', 'crosswalk', 'translate'] as const).map(other => levelOf(other) === 'full')
    t.strictSame(mayOthers, [tokenize, store, crosswalk, translate])
  }
  t.match(roles[1], { role: 'support', batchLimit: 50, perMinute: 10, perDay: 20, capabilities: [] })
  const table = await print(t, ['matrix'])
  t.match(table, /^support +device_id +customer_support +partial +no +no +no +no +required +never$/m)
  t.match(table, /^storing_service +ip +\* +none +no +yes +no +no +optional +never$/m)
  t.match(table, /^migrator +ip +migration +none +no +no +yes +yes +required +never$/m)
  t.match(table, /^approver +10000 +any +any +approve$/m)
})

t.test('check reads a file as the API would', async t => {
  const right = `policy ${shippedPolicy.digest} is right: investigator, support, `
  t.match(await print(t, ['check', 'deploy/policy.yaml']), right)
  const wrong = await runCommand(t, ['policy', 'check', 'package.json', '--json'])
  t.match(wrong, {
    code: 2,
    stdout: '',
    stderr: /^tokenvault: policy_invalid: .*\n {2}policy line 1, column 1: .*\n {2}policy line 2, column 3: this key/,
  })
  await t.rejects(print(t, ['check', 'nowhere']), { code: 'usage', message: 'nowhere does not exist (ENOENT)' })
})

t.test('without POLICY_FILE the one that ships holds', async t => {
  t.equal(readPolicy(policyPlace({}), loginFields).digest, shippedPolicy.digest)
})

/** A policy that is watched; `told` resolves with the next line of the log. */
function watch(t: Test, path: string) {
  const lines: Record<string, unknown>[] = []
  let wake = () => {}
  const log = createLog('info', {
    write: line => {
      lines.push(JSON.parse(line))
      wake()
    },
  })
  const watched = watchPolicy({ path, name: path }, { fields: loginFields, log, intervalMilliseconds: 20 })
  // The watch itself keeps no process alive.
  const alive = setInterval(() => {}, 60_000)
  t.teardown(() => {
    clearInterval(alive)
    watched.close()
  })
  let read = 0
  const told = async () => {
    while (lines.length === read) await new Promise<void>(resolve => (wake = resolve))
    return lines[read++]!
  }
  const roles = () => [...watched.current().roles.keys()].join()
  return { watched, told, roles, lines }
}

t.test('a policy follows its file, however that is changed; a wrong one is told and changes nothing', async t => {
  const path = join(temporaryDirectory(t), 'policy.yaml')
  writeFileSync(path, allows('first'))
  const { told, roles, watched, lines } = watch(t, path)
  t.match(await told(), { level: 'info', event: 'policy_loaded', policy: watched.current().digest })
  t.equal(roles(), 'first')

  writeFileSync(path, allows('second'))
  t.match(await told(), { event: 'policy_loaded' })
  t.equal(roles(), 'second', 'written in place')

  writeFileSync(`${path}.new`, allows('third'))
  renameSync(`${path}.new`, path)
  t.match(await told(), { event: 'policy_loaded' })
  t.equal(roles(), 'third', 'renamed over')

  const { digest } = watched.current()
  writeFileSync(path, `${allows('fourth')}extra: canary-value\n`)
  t.match(await told(), {
    ...{ level: 'error', event: 'policy_refused', policy: digest },
    err: { code: 'policy_invalid', message: /^policy line 3, column 1: this key of the file is unknown/ },
  })
  t.equal(roles(), 'third')
  rmSync(path)
  t.match(await told(), { event: 'policy_refused', err: { message: 'the policy file cannot be read (ENOENT)' } })
  t.equal(roles(), 'third', 'nor does one that went away')
  writeFileSync(path, allows('fifth'))
  t.match(await told(), { event: 'policy_loaded' })
  t.equal(roles(), 'fifth')
  t.equal(lines.length, 6, 'each is told once')
  t.notMatch(JSON.stringify(lines), /canary/)
})

t.test('a policy follows the links that Kubernetes turns', async t => {
  const directory = temporaryDirectory(t)
  const mount = (name: string, role: string) => {
    mkdirSync(join(directory, name))
    writeFileSync(join(directory, name, 'policy.yaml'), allows(role))
  }
  mount('..2026_1', 'first')
  symlinkSync('..2026_1', join(directory, '..data'))
  symlinkSync('..data/policy.yaml', join(directory, 'policy.yaml'))
  const { told, roles } = watch(t, join(directory, 'policy.yaml'))
  await told()
  mount('..2026_2', 'second')
  symlinkSync('..2026_2', join(directory, '..data_tmp'))
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'))
  rmSync(join(directory, '..2026_1'), { recursive: true })
  t.match(await told(), { event: 'policy_loaded' })
  t.equal(roles(), 'second')
})

t.test('a wrong file stops a start', async t => {
  const path = join(temporaryDirectory(t), 'policy.yaml')
  writeFileSync(path, 'version: 1\nroles: { a: { audit: 1 } }\n')
  t.throws(() => watch(t, path), {
    code: 'policy_invalid',
    message: /^policy line 2, column 22: audit is neither true nor false$/,
  })
  t.throws(() => watch(t, `${path}.gone`), { code: 'policy_invalid' })
})
