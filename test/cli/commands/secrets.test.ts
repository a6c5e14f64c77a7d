import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { makeSecrets } from '../../../deploy/make-secrets.ts'
import { openAgeKek } from '../../../src/kms/age.ts'
import { openLocalKek } from '../../../src/kms/local.ts'
import { loginRoles } from '../../../src/store/setup/role-passwords.ts'
import { runCommand } from '../../helpers/cli/cli.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'

const modeOf = (path: string) => statSync(path).mode & 0o777

t.test('key new makes a key that opens, and names it', async t => {
  const file = join(temporaryDirectory(t), 'kek')
  const { code, stdout, stderr } = await runInProcess(['key', 'new', file])
  t.strictSame({ code, stderr }, { code: 0, stderr: '' })
  t.match(stdout, `${file} holds a new key, ${openLocalKek(file).id}.\n`)
  t.equal(readFileSync(file).length, 32)
  t.equal(modeOf(file), 0o600)

  const other = `${file}-2`
  const told = await runInProcess(['key', 'new', other, '--json'])
  t.strictSame(JSON.parse(told.stdout), { file: other, kekId: openLocalKek(other).id })
  t.notSame(readFileSync(other), readFileSync(file))
})

t.test('key new encrypts to recipients, and key identity makes what opens it', async t => {
  const directory = temporaryDirectory(t)
  const at = (name: string) => join(directory, name)
  const made = await runInProcess(['key', 'identity', at('identity')])
  t.match(made, { code: 0, stdout: /^age1[a-z0-9]{58}\n$/, stderr: '' })
  t.equal(modeOf(at('identity')), 0o600)
  const recipient = made.stdout.trim()
  const { code, stdout } = await runInProcess(['key', 'new', at('kek'), '--recipient', recipient, '--json'])
  t.equal(code, 0)
  t.equal((await openAgeKek(at('kek'), at('identity'))).id, JSON.parse(stdout).kekId)
  t.equal(modeOf(at('kek')), 0o600)

  const secret = /AGE-SECRET-KEY-\S+/.exec(readFileSync(at('identity'), 'utf8'))![0]
  const wrong = await runInProcess(['key', 'new', at('other'), '--recipient', secret])
  t.match(wrong, { code: 2, stderr: /^tokenvault: usage: recipient 1 is not a recipient of age/ })
  t.notMatch(wrong.stderr, secret)
  t.notOk(existsSync(at('other')), 'no key was made')
  t.match(await runInProcess(['key', 'identity', at('identity')]), { code: 2, stderr: /stays as it is/ })
})

t.test('key new replaces nothing that has the name, whatever it is, and leaves nothing beside it', async t => {
  const directory = temporaryDirectory(t)
  const at = (name: string) => join(directory, name)
  writeFileSync(at('file'), 'kept', { mode: 0o444 })
  writeFileSync(at('empty'), '')
  mkdirSync(at('directory'))
  symlinkSync('file', at('link'))
  symlinkSync('nowhere', at('dangling'))
  const before = readdirSync(directory)
  for (const name of before) {
    const { code, stdout, stderr } = await runInProcess(['key', 'new', at(name)])
    t.strictSame({ code, stdout }, { code: 2, stdout: '' }, name)
    t.match(stderr, /^tokenvault: usage: the file exists already and stays as it is/, name)
  }
  t.strictSame(readdirSync(directory), before)
  t.strictSame([readFileSync(at('file'), 'utf8'), readFileSync(at('empty'), 'utf8')], ['kept', ''])
  t.match(await runInProcess(['key', 'new', join(directory, 'gone', 'kek')]), {
    code: 2,
    stderr: /cannot be written \(ENOENT\)/,
  })
})

t.test('of several that make one key at once a single one succeeds, and its key is the one that stays', async t => {
  const file = join(temporaryDirectory(t), 'kek')
  const ran = await Promise.all(Array.from({ length: 3 }, () => runCommand(t, ['key', 'new', file, '--json'])))
  t.strictSame(ran.map(({ code }) => code).sort(), [0, 2, 2])
  t.equal(JSON.parse(ran.find(({ code }) => code === 0)!.stdout).kekId, openLocalKek(file).id)
})

t.test('passwords new makes a file for each role that logs in', async t => {
  const directory = join(temporaryDirectory(t), 'of', 'production')
  const { code, stdout } = await runInProcess(['passwords', 'new', directory, '--json'])
  t.equal(code, 0)
  t.strictSame(JSON.parse(stdout), { directory, roles: [...loginRoles] })
  t.strictSame(readdirSync(directory).sort(), [...loginRoles].sort())
  t.equal(modeOf(directory), 0o700)
  const passwords = loginRoles.map(role => readFileSync(join(directory, role), 'utf8'))
  t.equal(new Set(passwords).size, loginRoles.length)
  for (const [place, password] of passwords.entries()) {
    t.match(password, /^[A-Za-z0-9_-]{43}$/)
    t.equal(modeOf(join(directory, loginRoles[place]!)), 0o600)
  }
})

t.test('passwords new changes nothing where one of the files exists, or others can enter', async t => {
  for (const kept of loginRoles) {
    const directory = temporaryDirectory(t)
    writeFileSync(join(directory, kept), 'kept')
    const { code, stderr } = await runInProcess(['passwords', 'new', directory])
    t.equal(code, 2)
    t.match(stderr, `tokenvault: usage: the directory holds ${kept} already`)
    t.strictSame(readdirSync(directory), [kept])
    t.equal(readFileSync(join(directory, kept), 'utf8'), 'kept')
  }
  const open = temporaryDirectory(t)
  chmodSync(open, 0o750)
  t.match(await runInProcess(['passwords', 'new', open]), { code: 2, stderr: /chmod 700/ })
  t.strictSame(readdirSync(open), [])
})

t.test('what docker-compose makes its secrets with keeps what is there, each time it runs', async t => {
  const root = temporaryDirectory(t)
  makeSecrets(root, 'postgres:5432')
  const files = () =>
    readdirSync(root, { recursive: true, encoding: 'utf8' })
      .filter(path => statSync(join(root, path)).isFile())
      .map(path => [path, modeOf(join(root, path)), readFileSync(join(root, path), 'hex')])
  const before = files()
  t.equal(existsSync(join(root, 'migrate', 'kek')), true)
  makeSecrets(root, 'elsewhere:1')
  t.strictSame(files(), before)
})
