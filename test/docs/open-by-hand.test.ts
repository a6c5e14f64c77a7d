import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { armor, Decrypter, generateIdentity, identityToRecipient } from 'age-encryption'
import t from 'tap'
import { prepareDatabase } from '../../src/compose/prepare-database.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createOriginalWriter } from '../../src/store/original-writer.ts'
import { fences } from '../helpers/docs/pages.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { pgDump } from '../helpers/postgres/pg-dump.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'

const has = (program: string, ...args: string[]) => spawnSync(program, args).status === 0
const lacks = ['python3 with the cryptography package'].filter(() => !has('python3', '-c', 'import cryptography'))
const hasAge = has('age', '--version')

/** A block of docs/formats.md, as its reader copies it. */
function blockOf(language: string, holds: string): string {
  const found = fences.filter(({ page, language: own, text }) => {
    return page === 'docs/formats.md' && own === language && text.includes(holds)
  })
  if (found.length !== 1) throw new Error(`docs/formats.md has ${found.length} such blocks`)
  return found[0]!.text
}

t.test(
  'with a dump, an identity, age and Python, by what docs/formats.md says, one original is opened',
  { skip: lacks.length > 0 && `no ${lacks[0]} here` },
  async t => {
    const vault = await createVaultDatabase(t)
    const identity = await generateIdentity()
    const environment = {
      DATABASE_URL: vault.adminUrl,
      KEK_FILE: vault.kekFile,
      RECOVERY_RECIPIENTS: await identityToRecipient(identity),
    }
    await prepareDatabase(loadConfig('migrate', environment), { environment })
    const values = ['203.0.113.7', '198.51.100.9', '2001:db8::1']
    const tokens = vault.tokenizer.tokenizeValues('ip', values)
    const originals = tokens.flatMap(each => ('original' in each ? [each.original] : []))
    const writer = createOriginalWriter(vault.database('tokenvault_store'), vault.database('tokenvault_api'))
    await (await writer.insert(originals)).commit()

    const directory = temporaryDirectory(t)
    const file = (name: string, text: string | Uint8Array) =>
      writeFileSync(join(directory, name), text, { mode: 0o600 })
    file('dump.sql', await pgDump(t, vault.adminUrl))
    file('identity.txt', `${identity}\n`)
    file('open-one.py', blockOf('python', 'AESSIV'))
    const run = (script: string) => spawnSync('sh', ['-ec', script], { cwd: directory, encoding: 'utf8' })
    const [extract = '', decrypt = '', open = ''] = blockOf('sh', 'age --decrypt').trim().split('\n')
    const extracted = run(`${extract}; cat recovery.age`)
    t.match(extracted.stdout, /^-----BEGIN AGE ENCRYPTED FILE-----\n/, extracted.stderr)
    if (hasAge) t.match(run(decrypt), { status: 0, stderr: '' })
    else {
      t.comment(
        `no age in ${process.env['PATH']?.split(delimiter).length} directories of PATH: typage opens the keyset`,
      )
      const decrypter = new Decrypter()
      decrypter.addIdentity(identity)
      file('keyset.json', await decrypter.decrypt(armor.decode(extracted.stdout.trim())))
    }
    for (const [place, value] of values.entries()) {
      const token = 'token' in tokens[place]! ? tokens[place].token : ''
      const opened = run(open.replace(/ip_v1_\S+/, token))
      t.equal(opened.stdout, `${value}\n`, opened.stderr)
    }
    t.match(run(open), { status: 1, stderr: /holds no original/ })
  },
)
