import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { run } from '../../src/cli/program.ts'
import { errorCatalogue } from '../../src/errors.ts'
import { parseIssuersFile } from '../../src/vault/files/issuers-file.ts'
import { anchorsOf, fences, linksOf, pages, proseOf, readText, root } from '../helpers/docs/pages.ts'
import { shippedPolicy } from '../helpers/vault/shipped-policy.ts'

const manifest = JSON.parse(readText('package.json'))

/** Runs a command in this process: a page names dozens, and a process for each would take a minute. */
async function tokenvault(
  t: Test,
  args: readonly string[],
): Promise<{ code: typeof process.exitCode; stdout: string }> {
  const written = t.capture(process.stdout, 'write', () => true)
  try {
    await run([process.execPath, 'tokenvault', ...args])
    return {
      code: process.exitCode,
      stdout: written()
        .map(({ args: [text] }) => String(text))
        .join(''),
    }
  } finally {
    written.restore()
    process.exitCode = undefined
  }
}

t.test('README is a front page: at most 10 KB', async t => {
  const bytes = Buffer.byteLength(pages.get('README.md')!)
  t.ok(bytes <= 10_240, `${bytes} bytes`)
})

t.test('every link leads to a file of the repository, and to a heading of it', async t => {
  for (const { page, path, anchor } of [...pages].flatMap(([page, text]) => linksOf(page, text))) {
    const name = `${page}: ${path}${anchor === undefined ? '' : `#${anchor}`}`
    t.notMatch(path, /^\.\./, `${name} stays in the repository`)
    t.ok(existsSync(new URL(path, root)), name)
    if (anchor !== undefined) t.ok(anchorsOf(readText(path)).has(anchor), name)
  }
})

t.test('every page of docs is one link away from README', async t => {
  const linked = new Set(linksOf('README.md', pages.get('README.md')!).map(({ path }) => path))
  for (const page of pages.keys()) if (page.startsWith('docs/')) t.ok(linked.has(page), page)
})

t.test('nothing public points out of the repository', async t => {
  for (const [page, text] of pages) t.notMatch(text, /\.\.\/shared|\/work\/|\/tmp\/wt/, page)
})

t.test('code is in a language that highlighters know, and JSON is JSON', async t => {
  for (const { page, language, text } of fences) {
    t.ok(
      ['', 'sh', 'sql', 'json', 'yaml', 'python', 'jinja', 'ts', 'typescript'].includes(language),
      `${page}: ${language}`,
    )
    if (language === 'json') t.doesNotThrow(() => JSON.parse(text), `${page}: ${text.slice(0, 60)}`)
  }
})

t.test('problem details that pages show say what the catalogue says', async t => {
  const shown = fences.filter(({ language }) => language === 'json').map(({ text }) => JSON.parse(text))
  const problems = shown.filter(({ type }) => String(type).startsWith('urn:tokenvault:problem:'))
  t.ok(problems.length > 0)
  for (const { code, title, remedy } of problems) {
    const { meaning: expectedTitle, remedy: expectedRemedy } = errorCatalogue[code as keyof typeof errorCatalogue]
    t.strictSame({ title, remedy }, { title: expectedTitle, remedy: expectedRemedy }, code)
  }
})

/** What the help of a command says. */
interface CommandHelp {
  readonly subcommands: ReadonlySet<string>
  /** Whether each option takes a value. */
  readonly options: ReadonlyMap<string, boolean>
  /** The arguments of the usage line: `<token...>`, `[id]`, … */
  readonly args: readonly string[]
}

const helps = new Map<string, CommandHelp>()

async function helpOf(t: Test, path: readonly string[]): Promise<CommandHelp> {
  const key = path.join(' ')
  const known = helps.get(key)
  if (known !== undefined) return known
  const { stdout } = await tokenvault(t, [...path, '--help'])
  const section = (title: string) => new RegExp(`^${title}:\\n(.*?)(?:\\n\\n|$(?![^]))`, 'ms').exec(stdout)?.[1] ?? ''
  const usage = /^Usage: tokenvault (.*)$/m.exec(stdout)![1]!
  const help = {
    subcommands: new Set([...section('Commands').matchAll(/^ {2}([a-z][a-z-]*)/gm)].map(([, name]) => name!)),
    options: new Map(
      [...section('Options').matchAll(/^ {2}(?:-[a-zA-Z], )?(--[a-z-]+)( <)?/gm)].map(([, name, value]) => [
        name!,
        value !== undefined,
      ]),
    ),
    args: [...usage.matchAll(/[<[](?!options|command)[a-z-]+(?:\.\.\.)?[>\]]/g)].map(([arg]) => arg),
  }
  helps.set(key, help)
  return help
}

/** The commands of a shell's text: words behind `tokenvault`, to the end of that command. */
function tokenvaultCommands(shell: string): string[][] {
  // What the shell puts in is one word, unless it is a command of ours itself.
  const lines = shell.replaceAll('\\\n', ' ').replaceAll(/\$\((?![^)]*tokenvault )[^()]*\)/g, 'SUBSTITUTED')
  return [...lines.matchAll(/(?<![\w/.'-])tokenvault +([a-z][^\n)|<>#;`]*)/g)].map(([, rest]) =>
    rest!.trim().split(/\s+/),
  )
}

/** @returns what is wrong with the command, or undefined */
async function faultOf(t: Test, words: readonly string[], isComplete: boolean): Promise<string | undefined> {
  const path: string[] = []
  let help = await helpOf(t, path)
  while (words[path.length] !== undefined && help.subcommands.has(words[path.length]!)) {
    path.push(words[path.length]!)
    help = await helpOf(t, path)
  }
  if (path.length === 0) return `there is no command ${words[0]}`
  const given: string[] = []
  for (let index = path.length; index < words.length; index++) {
    const word = words[index]!
    if (!word.startsWith('--')) {
      given.push(word)
      continue
    }
    const takesValue = help.options.get(word)
    if (takesValue === undefined) return `tokenvault ${path.join(' ')} has no option ${word}`
    if (takesValue && (words[++index] === undefined || words[index]!.startsWith('--'))) return `${word} takes a value`
  }
  // One that has options of its own can also be run by itself.
  const isGroup = help.subcommands.size > 0 && [...help.options.keys()].every(option => option === '--help')
  if (isGroup && isComplete) return `tokenvault ${path.join(' ')} needs one of its commands`
  const most = help.args.some(arg => arg.includes('...')) ? Number.POSITIVE_INFINITY : help.args.length
  const least = isComplete ? help.args.filter(arg => arg.startsWith('<')).length : 0
  if (given.length > most || given.length < least)
    return `tokenvault ${words.join(' ')}: arguments are ${help.args.join(' ')}`
  return undefined
}

t.test('the check of commands finds what is wrong', async t => {
  t.match(await faultOf(t, ['nonsense'], true), /no command/)
  t.match(await faultOf(t, ['quarantine', 'list', '--nonsense'], true), /no option/)
  t.match(await faultOf(t, ['quarantine', 'list', '--limit'], true), /takes a value/)
  t.match(await faultOf(t, ['quarantine'], true), /needs one of/)
  t.match(await faultOf(t, ['quarantine', 'show'], true), /arguments are/)
  t.equal(await faultOf(t, ['quarantine', 'show', 'ID', '--json'], true), undefined)
})

t.test('every command line that a page shows exists, with its options and arguments', async t => {
  const blocks = fences.filter(({ language }) => language === 'sh')
  const commands = blocks.flatMap(({ page, text }) => tokenvaultCommands(text).map(words => ({ page, words })))
  t.ok(commands.length > 30)
  for (const { page, words } of commands)
    t.equal(await faultOf(t, words, true), undefined, `${page}: ${words.join(' ')}`)
})

t.test('every command that a sentence names exists', async t => {
  // The history names commands as they were.
  for (const [page, text] of pages) {
    if (page === 'CHANGELOG.md') continue
    for (const [, code] of proseOf(text).matchAll(/`(?:npx )?(tokenvault [a-z][^`|]*)`/g)) {
      const words = code!.split(/\s+/).slice(1)
      if (!words.includes('…')) t.equal(await faultOf(t, words, false), undefined, `${page}: ${code}`)
    }
  }
})

t.test('no line that a page shows replaces a secret when it is pasted twice', async t => {
  const replacing = /(?:urandom|openssl rand)[^\n]*>|>\s*\S*(?:kek|password|secret|-url)/
  t.match('(umask 077 && head -c 32 /dev/urandom > kek)', replacing)
  for (const { page, text } of fences.filter(({ language }) => language === 'sh'))
    for (const line of text.split('\n')) t.notMatch(line, replacing, `${page}: ${line}`)
})

t.test('database URLs that pages show begin as every client takes them, SQLAlchemy too', async t => {
  for (const [page, text] of pages) if (page !== 'CHANGELOG.md') t.notMatch(text, /postgres:\/\//, page)
})

t.test('events that pages show were decided by the policy that ships', async t => {
  const shown = [...pages].flatMap(([page, text]) =>
    [...text.matchAll(/"policy":"([0-9a-f]{16})"/g)].map(([, digest]) => ({ page, digest })),
  )
  t.ok(shown.length > 0)
  for (const { page, digest } of shown) t.equal(digest, shippedPolicy.digest, page)
})

t.test('every npm script that a page names exists', async t => {
  for (const [page, text] of pages) {
    for (const [, script] of text.matchAll(/npm run ([a-z:]+)/g))
      t.ok(script! in manifest.scripts, `${page}: ${script}`)
  }
})

t.test('the policy and the fields that pages show are right, and explain prints what the page says', async t => {
  const folder = t.testdir()
  const yamlOf = (page: string, key: string) =>
    fences.find(({ page: of, language, text }) => of === page && language === 'yaml' && text.includes(`\n${key}:\n`))!
      .text
  const policy = join(folder, 'policy.yaml')
  writeFileSync(policy, yamlOf('docs/policy.md', 'roles'))
  t.match(await tokenvault(t, ['policy', 'check', policy]), { code: undefined, stdout: /is right/ })
  const fields = join(folder, 'fields.yaml')
  writeFileSync(fields, yamlOf('docs/production.md', 'fields'))
  t.equal(parseIssuersFile(yamlOf('docs/production.md', 'issuers')).length, 2)
  process.env['FIELDS_FILE'] = fields
  t.teardown(() => delete process.env['FIELDS_FILE'])
  t.match((await tokenvault(t, ['policy', 'matrix'])).stdout, /^investigator +email /m)
  delete process.env['FIELDS_FILE']

  const page = pages.get('docs/policy.md')!
  const words = tokenvaultCommands(page).find(([, verb]) => verb === 'explain')!
  const said = (await tokenvault(t, words)).stdout
  t.ok(page.includes(`\`\`\`\n${said}\`\`\``), said)
})
