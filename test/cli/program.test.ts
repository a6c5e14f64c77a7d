import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Help } from 'commander'
import t, { type Test } from 'tap'
import { createProgram } from '../../src/cli/program.ts'
import { runCommand, startCommand } from '../helpers/cli/cli.ts'

const recorder = new URL('../helpers/cli/record-modules.ts', import.meta.url)
const root = fileURLToPath(new URL('../../', import.meta.url))

/** Runs a command, and tells which packages and which files of src it loaded. */
async function loadedBy(t: Test, args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
  const file = join(t.testdir({}), 'loaded.json')
  const ran = await runCommand(t, args, { ...environment, NODE_OPTIONS: `--import=${recorder}`, LOADED_MODULES: file })
  const urls: string[] = JSON.parse(readFileSync(file, 'utf8'))
  // What stands before it was brought by whoever runs the tests.
  const own = urls.slice(urls.findIndex(url => url.endsWith('/src/cli/tokenvault.js')))
  const paths = own.filter(url => url.startsWith('file:')).map(url => fileURLToPath(url).slice(root.length))
  const names = paths.flatMap(path => /^.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? [])
  return { ...ran, packages: [...new Set(names)].sort(), sources: paths.filter(path => path.startsWith('src/')).sort() }
}

for (const args of [['--version'], ['--help'], [], ['unknown']]) {
  t.test(`tokenvault ${args.join(' ')} loads the list of commands and none of them`, async t => {
    const { packages, sources } = await loadedBy(t, args)
    t.strictSame(packages, ['commander'])
    t.strictSame(sources, [
      'src/cli/process/v8-flags.ts',
      'src/cli/program.ts',
      'src/cli/tokenvault.js',
      'src/compose/version.ts',
    ])
  })
}

t.test('a command is loaded without the others', async t => {
  const { sources } = await loadedBy(t, ['sample', '--count', '1'])
  t.strictSame(
    sources.filter(path => path.startsWith('src/cli/commands/')),
    ['src/cli/commands/sample.ts'],
  )
})

t.test('what production runs loads no server of `tokenvault up`, and needs none of its packages', async t => {
  const commands = [
    'migrate',
    'worker',
    'api',
    'reconcile',
    'policy',
    'dlq',
    'audit',
    'receipt',
    'openapi',
    'key',
    'doctor',
  ]
  for (const command of [
    ...commands,
    'detokenize',
    'approval',
    'suspension',
    'quarantine',
    'jwt',
    'passwords',
    'tokenize',
  ]) {
    const missing = { MISSING_PACKAGES: 'fauxqs' }
    const { code, packages, sources } = await loadedBy(t, [command, '--help'], missing)
    t.equal(code, 0, command)
    t.notOk(packages.includes('fauxqs') || sources.includes('src/embedded/sqs.ts'), `${command}: the queue`)
    t.notOk(sources.includes('src/embedded/postgres.ts'), `${command}: Postgres`)
  }
})

t.test('without the package of the queue, `tokenvault up` says in one line what to install', async t => {
  const { code, stdout, stderr } = await loadedBy(t, ['up', '--drain', '--data-dir', join(t.testdir({}), 'state')], {
    MISSING_PACKAGES: 'fauxqs',
  })
  t.strictSame({ code, stdout }, { code: 1, stdout: '' })
  t.match(stderr, /^tokenvault: embedded_failed: The package fauxqs is not installed; run `npm ci` [^\n]*\n$/)
})

t.test('the list shows each command as the command shows itself', async t => {
  const list = (await createProgram()).helpInformation()
  const names = (await createProgram()).commands.map(command => command.name())
  t.ok(names.length > 20, `${names.length} commands`)
  for (const name of names) {
    const command = (await createProgram(name)).commands.find(command => command.name() === name)!
    t.match(list, `\n  ${new Help().subcommandTerm(command)}  `)
    t.ok(command.options.length > 0 || command.commands.length > 0 || name === 'api', `${name} is whole`)
  }
})

t.test(
  'a reader that goes before the end, such as head, ends a command as SIGPIPE does, and nothing is said',
  async t => {
    for (const args of [['sample', '--count', '100000'], ['openapi']]) {
      const command = startCommand(t, args)
      await once(command.process.stdout!, 'data')
      command.process.stdout!.destroy()
      const { code } = await command.ended
      t.same({ code, stderr: command.stderr() }, { code: 141, stderr: '' }, args.join(' '))
    }
  },
)

t.test('a command that was not asked for cannot run', async t => {
  const program = await createProgram('sample')
  const other = program.commands.find(command => command.name() === 'migrate')!
  t.strictSame([other.options.length, other.commands.length], [0, 0])
})
