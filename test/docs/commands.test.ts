import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import t, { type Test } from 'tap'
import { embeddedAdminUrl } from '../../src/cli/local/state.ts'
import { compiled, startCommand } from '../helpers/cli/cli.ts'
import { type CommandBlock, commandBlocks, formatSql, Glossary } from '../helpers/docs/commands.ts'
import { fences, pages, root } from '../helpers/docs/pages.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { until } from '../helpers/faults/plan.ts'

/** The pages in the order in which README leads to them. */
const order = ['README.md', 'analysts', 'callers', 'policy', 'auditors', 'evidence', 'operators', 'production']
const all = [...pages.keys()].filter(page => page === 'README.md' || page.startsWith('docs/'))
const named = order.map(name => (name === 'README.md' ? name : `docs/${name}.md`))
const inOrder = [...named, ...all.filter(page => !named.includes(page))]

/** Programs that a machine may lack; a block that needs one of these is then skipped. */
const optional = ['psql', 'aws', 'curl', 'openssl', 'python3', 'jq']
const lacking = optional.filter(program => spawnSync(program, ['--version']).error !== undefined)

t.test('a block says by a comment above it why it is not run, and what it exits with', async t => {
  const page = [
    '```sh\na\n```\n\n```\nA\n```',
    '<!-- not run here: it costs money -->\n```sh\nb\n```\n\ntext\n\n```\nB\n```',
    '<!-- exits with 3 -->\n\n```sql\nc\n```\n\n```json\n{}\n```',
    '<!-- not run -->\n```python\nd\n```\n\n```yaml\ne: 1\n```',
  ].join('\n\n')
  t.match(commandBlocks('x', page), [
    { text: 'a\n', line: 1, notRun: undefined, exitCode: 0, output: 'A\n' },
    { text: 'b\n', notRun: 'it costs money', output: undefined },
    { text: 'c\n', exitCode: 3, output: '{}\n' },
    { text: 'd\n', notRun: undefined, output: undefined },
  ])
})

t.test('the comparison knows what differs between runs, and learns names', async t => {
  const glossary = new Glossary()
  const [a, b] = ['ip_v1_bExFr0RVE7aLSkZLXJLAYg', 'ip_v1_JYnYXUkKGJv2-l5dl5Psug']
  t.equal(glossary.compare(`x  ${a} 2026-11-29\n…\nend`, `x ${b} 2027-01-01\n1\n2\nend\n`), undefined)
  t.equal(glossary.translate(`get ${a}`), `get ${b}`)
  t.match(glossary.compare('1 row', '2 rows'), /shown: +1 row\nprinted: 2 rows/)
  t.match(glossary.compare(a, a), /stands for/, 'one name, two things')
  t.match(glossary.compare('a\nb', 'a'), /printed: undefined/)
  t.match(glossary.compare(a, 'ip_v1_short'), /shown/)
})

t.test('every command of README and docs, in order, prints what the page shows', { timeout: 280_000 }, async t => {
  const stack = await startStack(t)
  for (const page of inOrder) {
    await t.test(page, async t => {
      for (const block of commandBlocks(page)) await check(t, block, stack)
    })
  }
})

interface Stack {
  readonly directory: string
  readonly environment: NodeJS.ProcessEnv
  readonly glossary: Glossary
}

/** `npm start` in a directory of its own, and programs by which blocks reach it. */
async function startStack(t: Test): Promise<Stack> {
  const directory = temporaryDirectory(t)
  const entry = fileURLToPath(new URL('src/cli/tokenvault.js', root))
  const programs = join(directory, 'programs')
  mkdirSync(programs)
  const node = `exec '${process.execPath}' '${entry}'`
  const scripts = {
    tokenvault: `${node} "$@"`,
    npx: `shift; ${node} "$@"`,
    // It runs already: there is only its welcome to be shown.
    npm: `case "$*" in ci) ;; start) cat welcome ;; "start -- --drain"*) shift 2; ${node} up "$@" ;; *) exit 9 ;; esac`,
  }
  for (const [name, script] of Object.entries(scripts))
    writeFileSync(join(programs, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  for (const [file, page] of [
    ['my-policy.yaml', 'docs/policy.md'],
    ['fields.yaml', 'docs/production.md'],
  ] as const) {
    const yaml = fences.find(fence => fence.page === page && fence.language === 'yaml')!
    writeFileSync(join(directory, file), yaml.text)
  }
  const up = startCommand(t, ['up', '--port', '0'], {}, '', directory)
  await up.printed(/see this again +\S.*\n/)
  writeFileSync(join(directory, 'welcome'), up.stdout())
  const { TMPDIR, PATH } = process.env
  // Nobody's home: no block finds credentials of a cloud.
  const environment = { TMPDIR, HOME: directory, ...compiled, PATH: `${programs}${delimiter}${PATH}` }
  return { directory, environment, glossary: new Glossary() }
}

async function check(t: Test, block: CommandBlock, stack: Stack): Promise<void> {
  const { page, line, notRun, output, exitCode } = block
  const name = `${page}:${line}`
  if (notRun !== undefined) return void t.pass(`${name} is not run here: ${notRun}`)
  const lacks = lacking.filter(program => needs(block, program))
  if (lacks.length > 0) return void t.pass(name, { skip: `no ${lacks.join(', ')} here` })
  if (block.text.includes('audit prove')) await checkpointed(stack, 3)
  const { code, printed } = await run(block, stack)
  t.equal(code, exitCode, `${name} exits with ${exitCode}:\n${block.text}\n${printed}`)
  if (output !== undefined)
    t.equal(stack.glossary.compare(output, printed), undefined, `${name} prints what the page shows:\n${printed}`)
}

function needs({ language, text }: CommandBlock, program: string): boolean {
  return (language === 'python' && program === 'python3') || new RegExp(`(?:^|[|;&(]) *${program} `, 'm').test(text)
}

async function run(block: CommandBlock, stack: Stack): Promise<{ code: number | null; printed: string }> {
  const { directory, environment, glossary } = stack
  const commands = glossary.translate(block.text)
  if (block.language === 'sql') return { code: 0, printed: await query(commands, stack) }
  // What a block exports, later blocks of its page find, as in the shell of somebody who reads.
  const exported = join(directory, `${block.page.replaceAll('/', '-')}.exported`)
  const script = `touch '${exported}'; . '${exported}'\ntrap "export -p > '${exported}'" EXIT\nset -e\n${commands}`
  const [program, args] = {
    sh: ['sh', ['-c', script]] as const,
    python: ['python3', ['-c', commands]] as const,
    ts: [process.execPath, ['--input-type=module-typescript', '-e', commands]] as const,
  }[block.language === 'typescript' ? 'ts' : (block.language as 'sh' | 'python' | 'ts')]
  const child = spawn(program, args, { cwd: directory, env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code, printed: stdout + stderr }
}

/** Waits for a checkpoint of at least that many events. */
async function checkpointed({ directory }: Stack, size: number): Promise<void> {
  const isThere = () =>
    readdirSync(join(directory, '.tokenvault/checkpoints')).some(name => Number.parseInt(name, 10) >= size)
  await until(`a checkpoint of ${size} events`, isThere)
}

/** As the database role that the page is for. */
async function query(commands: string, { directory, glossary }: Stack): Promise<string> {
  const dataDir = join(directory, '.tokenvault')
  const role = /audit_events/.test(commands) ? 'tokenvault_auditor' : 'tokenvault_analyst'
  // Whoever has a table to backfill owns it.
  const isOwner = /^(CREATE TABLE|INSERT INTO) customers/.test(commands)
  const connectionString = isOwner
    ? embeddedAdminUrl(dataDir)
    : readFileSync(join(dataDir, 'urls', role), 'utf8').trim()
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    return formatSql(await client.query(glossary.translate(commands)))
  } finally {
    await client.end()
  }
}
