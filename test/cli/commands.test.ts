import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createNoteSigner } from '../../src/tlog/signed-note.ts'
import { runCommand } from '../helpers/cli/cli.ts'
import { runInProcess } from '../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'

const commands = [
  'up',
  'status',
  'key',
  'passwords',
  'migrate',
  'worker',
  'api',
  'doctor',
  'sample',
  'jwt',
  'detokenize',
  'tokenize',
  'import',
  'backfill',
  'openapi',
  'reconcile',
  'policy',
  'quarantine',
  'dlq',
  'audit',
  'receipt',
]

t.test('every command has help, on standard output, with exit code 0', async t => {
  const overview = await runCommand(t, ['--help'])
  t.equal(overview.code, 0)
  for (const command of commands) {
    t.match(overview.stdout, new RegExp(`^ {2}${command}\\b`, 'm'))
    const { code, stdout, stderr } = await runInProcess([command, '--help'])
    t.strictSame({ code, stderr }, { code: 0, stderr: '' }, command)
    t.match(stdout, new RegExp(`^Usage: tokenvault ${command}`))
  }
})

const typistPolicy = join(t.testdir({ 'policy.yaml': 'version: 1\nroles: { typist: {} }\n' }), 'policy.yaml')
const wrongPolicy = join(t.testdirName, 'wrong.yaml')
writeFileSync(wrongPolicy, 'version: 1\nroles: { typist: { revel: {} } }\n')
const { verifierKey: exampleKey } = createNoteSigner('tokenvault/test', new Uint8Array(32).fill(1))

const mistakes: Record<string, { args: string[]; environment?: NodeJS.ProcessEnv; says: RegExp }> = {
  'no command': { args: [], says: /^Usage: tokenvault/ },
  'an unknown command': { args: ['upp'], says: /unknown command 'upp'/ },
  'an unknown option': { args: ['migrate', '--force'], says: /unknown option '--force'/ },
  'a port that is none': { args: ['up', '--port', '65536'], says: /--port/ },
  'a missing option': { args: ['jwt', '--sub', 'a'], says: /--role/ },
  'a count that is none': { args: ['sample', '--count', '-1'], says: /--count/ },
  '--json without --drain': { args: ['up', '--json'], says: /^tokenvault: usage: --json goes with --drain/ },
  'a drain with metrics': {
    args: ['up', '--drain', '--metrics', '0'],
    says: /^tokenvault: usage: --metrics does not go with --drain/,
  },
  'a policy for up that is not there': {
    args: ['up', '--policy', 'nowhere.yaml', '--data-dir', 'nowhere'],
    says: /^tokenvault: usage: the file of --policy does not exist \(ENOENT\)\. .*\n$/,
  },
  'a policy for up that is wrong': {
    args: ['up', '--policy', wrongPolicy, '--data-dir', 'nowhere'],
    says: /^tokenvault: policy_invalid: policy line 2, column 20: .*\n$/,
  },
  'fields for up that are not there': {
    args: ['up', '--fields', 'nowhere.yaml', '--data-dir', 'nowhere'],
    says: /^tokenvault: usage: the file of --fields does not exist \(ENOENT\)\. .*\n$/,
  },
  'an input that is not there': {
    args: ['up', '--drain', '--input', 'nowhere.json'],
    says: /^tokenvault: input_invalid: .*ENOENT/,
  },
  'an empty --data-dir': { args: ['up', '--data-dir', ''], says: /--data-dir/ },
  'a level of log that is none': {
    args: ['up', '--drain', '--data-dir', 'nowhere'],
    environment: { LOG_LEVEL: 'loud' },
    says: /^tokenvault: config_invalid: LOG_LEVEL /,
  },
  'a --url that is none': {
    args: ['detokenize', 'x', '--purpose', 'test', '--url', 'foo'],
    says: /^tokenvault: usage: --url must be/,
  },
  'a --url without http': {
    args: ['detokenize', 'x', '--purpose', 'test', '--url', 'localhost:3000'],
    says: /^tokenvault: usage: --url must be/,
  },
  'a file that cannot be written': {
    args: ['openapi', '--write', 'nowhere/openapi.json'],
    says: /^tokenvault: usage: --write /,
  },
  'no API known': {
    args: ['detokenize', 'x', '--purpose', 'test', '--data-dir', 'nowhere'],
    says: /^tokenvault: usage: no API is known/,
  },
  'nothing to examine': {
    args: ['doctor', '--data-dir', 'nowhere'],
    says: /^tokenvault: usage: nothing is configured here/,
  },
  'an unknown subject': { args: ['doctor', '--only', 'nobody'], says: /--only/ },
  'a role that no policy knows': {
    args: [
      'jwt',
      '--role',
      'analyst',
      '--role',
      'analyts',
      '--role',
      'toString',
      '--sub',
      'b',
      '--data-dir',
      'nowhere',
    ],
    says: /^tokenvault: usage: no policy knows the role analyts, toString; known are investigator, support, .*administrator,/,
  },
  'a role that another policy knows': {
    args: ['jwt', '--role', 'typist', '--sub', 'b', '--data-dir', 'nowhere'],
    environment: { POLICY_FILE: typistPolicy },
    says: /^tokenvault: usage: The data directory holds no issuer.jwk yet/,
  },
  'a policy that is not there': {
    args: ['policy', 'check', 'nowhere.yaml'],
    says: /^tokenvault: usage: nowhere.yaml does not exist \(ENOENT\)/,
  },
  'a proof that is not there': {
    args: ['audit', 'check', 'nowhere.json', '--key', exampleKey],
    says: /^tokenvault: usage: the proof does not exist \(ENOENT\)/,
  },
  'a search for nothing': {
    args: ['audit', 'search', '--purpose', 'test'],
    says: /^tokenvault: usage: name what to look for, e.g. --subject/,
  },
  'a search for a token and a value': {
    args: ['audit', 'search', '--purpose', 'test', '--token', 'x', '--field', 'ip', '--value-from-stdin'],
    says: /^tokenvault: usage: --value-from-stdin goes with --field, and not with --token/,
  },
  'a search for a value of no field': {
    args: ['audit', 'search', '--purpose', 'test', '--value-from-stdin'],
    says: /^tokenvault: usage: --value-from-stdin goes with --field/,
  },
  'no development issuer yet': {
    args: ['jwt', '--role', 'analyst', '--sub', 'b', '--data-dir', 'nowhere'],
    says: /^tokenvault: usage: /,
  },
}
for (const [name, { args, environment, says }] of Object.entries(mistakes)) {
  t.test(`wrong usage gets exit code 2 and one clear message: ${name}`, async t => {
    const { code, stdout, stderr } = await runInProcess(args, environment)
    t.strictSame({ code, stdout }, { code: 2, stdout: '' })
    t.match(stderr, says)
  })
}

t.test('wrong configuration: every problem in one message, no value repeated, nothing started', async t => {
  const environment = {
    DATABASE_URL: 'mysql://user:hunter2@host/db',
    PORT: 'seventy',
    JWT_ALGORITHMS: 'HS256',
    LOG_LEVEL: 'loud',
  }
  const { code, stdout, stderr } = await runCommand(t, ['api'], environment)
  t.strictSame({ code, stdout }, { code: 2, stdout: '' })
  t.match(stderr, /^tokenvault: config_invalid: 8 problems:\n/)
  for (const name of [...Object.keys(environment), 'KEK_FILE', 'JWT_ISSUER', 'JWT_AUDIENCE', 'JWKS_URL'])
    t.match(stderr, name)
  t.notMatch(stderr, /hunter2|seventy|HS256/)
})

t.test('input that is no array is refused before anything starts', async t => {
  const directory = temporaryDirectory(t)
  for (const [content, says] of [
    ['{"user_id":"secret-value"}', /holds no array/],
    ['[{"user_id":"secret-value"', /is not JSON/],
    [Buffer.from('[{"user_id":"secret-value \u00e9"}]', 'latin1'), /is not UTF-8/],
    [`[${'['.repeat(20_000)}${']'.repeat(20_000)}]`, /nests element 0 too deep|is not JSON/],
    [JSON.stringify([{}, { user_id: 'secret-value'.repeat(90_000) }]), /element 1 .* larger than a message/],
  ] as const) {
    writeFileSync(join(directory, 'input.json'), content)
    const { code, stderr } = await runInProcess([
      'up',
      '--drain',
      '--input',
      join(directory, 'input.json'),
      '--data-dir',
      join(directory, 'state'),
    ])
    t.equal(code, 2)
    t.match(stderr, says)
    t.notMatch(stderr, /secret-value/)
  }
})

t.test('sample prints the same events for the same seed, and they hold duplicates', async t => {
  const [first, again, other] = await Promise.all(
    ['1', '1', '2'].map(seed => runCommand(t, ['sample', '--count', '200', '--seed', seed])),
  )
  t.equal(first!.stdout, again!.stdout)
  t.not(first!.stdout, other!.stdout)
  const events: { device_id: string }[] = JSON.parse(first!.stdout)
  t.equal(events.length, 200)
  t.ok(new Set(events.map(event => event.device_id)).size < 200)
})
