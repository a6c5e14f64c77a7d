import { once } from 'node:events'
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import t, { type Test } from 'tap'
import { openKeyAdministrator } from '../../../src/compose/key-administration.ts'
import { prepareDatabase } from '../../../src/compose/prepare-database.ts'
import { openReport } from '../../../src/compose/recover/report.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { createTokenizeMessages } from '../../../src/ingest/batch/tokenize-messages.ts'
import { openLocalKek } from '../../../src/kms/local.ts'
import { createFieldRecordWriter } from '../../../src/store/fields.ts'
import { createIngestStore } from '../../../src/store/ingest.ts'
import { createKeyRecoveryStore } from '../../../src/store/key-recovery.ts'
import { createKeyReader, createKeyWriter } from '../../../src/store/keys.ts'
import { migrate } from '../../../src/store/setup/migrate.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { describeField } from '../../../src/vault/fields/recorded-fields.ts'
import { createMissingKeys, openKeyset } from '../../../src/vault/keys/wrapped-keys.ts'
import { startCommand } from '../../helpers/cli/cli.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { startEvidence } from '../../helpers/evidence/evidence.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { pgDump } from '../../helpers/postgres/pg-dump.ts'
import { openDatabase } from '../../helpers/postgres/vault-database.ts'
import { loginEvent, received } from '../../helpers/queue/events.ts'

/** A vault with rows, evidence and a recovery, of which a backup was made, and which went on. */
async function startBackup(t: Test) {
  const vault = await startEvidence(t)
  const directory = temporaryDirectory(t)
  const file = (name: string, content: string | Uint8Array) => {
    const path = join(directory, name)
    writeFileSync(path, content, { mode: 0o600 })
    return path
  }
  const identity = await generateIdentity()
  const environment = {
    DATABASE_URL: vault.adminUrl,
    KEK_FILE: vault.kekFile,
    RECOVERY_RECIPIENTS: await identityToRecipient(identity),
  }
  const config = loadConfig('migrate', environment)
  await prepareDatabase(config, { environment })
  const store = createIngestStore(vault.database('tokenvault_worker'), loginFields)
  const sentAtMs = Date.now()
  const messages = Array.from({ length: 40 }, (_, n) =>
    received(`message-${n}`, JSON.stringify([loginEvent(n)]), { sentAtMs }),
  )
  await store.storeMessages(createTokenizeMessages(vault.tokenizer, vault.sealQuarantined)(messages))
  const make = vault.startMaker()
  await vault.append(3)
  await make()
  const dump = await pgDump(t, vault.adminUrl)
  await vault.append(2)
  await make()
  const path = file('dump.sql', dump)
  const administrator = await openKeyAdministrator(config, environment)
  t.teardown(() => administrator.close())
  return { ...vault, file, dump, path, identity: file('identity', `${identity}\n`), environment, administrator }
}

type Backup = Awaited<ReturnType<typeof startBackup>>
let made: Promise<Backup> | undefined

/** Made once for all tests. */
function backupOf(): Promise<Backup> {
  made ??= startBackup(t)
  return made
}

async function emptyTarget(t: Test, file: (name: string, content: string) => string) {
  const { adminUrl } = await createTestDatabase(t)
  return { adminUrl, urlFile: file(`url-${Math.random()}`, adminUrl) }
}

/** What stands in the events: nothing of it may be told. */
const canaries = ['ip', 'device_id'].map(name => String(loginEvent(7)[name]))

t.test('a backup and one identity make a working vault, without the KEK, and a signed report of it', async t => {
  const backup = await backupOf()
  const { path, identity, directory, signer, verifier, file } = backup
  const { adminUrl, urlFile } = await emptyTarget(t, file)
  const kek = join(temporaryDirectory(t), 'kek')
  t.equal((await runInProcess(['key', 'new', kek])).code, 0)
  const report = join(directory, 'report.note')
  const args = ['recover', '--dump', path, '--identity', identity, '--database-url-file', urlFile, '--kek', kek]
  const more = [
    '--checkpoints',
    directory,
    '--key',
    signer.verifierKey,
    '--report',
    report,
    '--seed',
    '7',
    '--sample',
    '9',
  ]
  // As if it had been stopped: once after the restore, and once before the report was kept.
  const stranger = file('nobody', `${await generateIdentity()}\n`)
  const withStranger = args.map(arg => (arg === identity ? stranger : arg))
  t.match(await runInProcess(withStranger), { code: 1, stderr: /recovery_invalid: no identity/ })
  const lost = [...args, ...more, '--report', join(directory, 'none', 'report.note')]
  t.match(await runInProcess(lost), { code: 2, stdout: '', stderr: /--report cannot be written \(ENOENT\)/ })
  const { code, stdout, stderr } = await runInProcess([...args, ...more, '--json'])
  t.strictSame({ code, stderr }, { code: 0, stderr: '' })
  const found = JSON.parse(stdout)
  t.match(found, {
    kind: 'recovery',
    isSound: true,
    dump: { format: 'plain', bytes: backup.dump.length, leftOut: 0 },
    keys: { openedBy: 'dump', count: 7, destroyed: [], added: [] },
    // The run before had recorded that it rewrapped the keys.
    audit: { isIntact: true, events: 4, comparedAt: 3, eventsAfterBackup: 2 },
    seed: 7,
    originals: [
      { field: 'device_id', count: 40, tried: 9, opened: 9 },
      { field: 'ip', count: 40, tried: 9, opened: 9 },
    ],
    reconciliation: { isConsistent: true },
  })
  const note = readFileSync(report, 'utf8')
  t.strictSame(openReport(note, verifier), found)
  for (const canary of canaries) t.notOk(note.includes(canary) || stdout.includes(canary), canary)
  const check = (text: string) => runInProcess(['recover', 'check', file('checked', text), '--key', signer.verifierKey])
  t.match(await check(note), {
    code: 0,
    stdout: /signed, recovery of .*\nip: 40 originals, 9 of 9 tried open\n.*sound/s,
  })
  t.match(await check(note.replace('"opened":9', '"opened":8')), { code: 1, stderr: /checkpoint_invalid/ })

  const database = openDatabase(t, adminUrl, 1)
  const keyset = await openKeyset(createKeyReader(database), openLocalKek(kek), 'default')
  for (const key of backup.keyset.all())
    t.ok(keyset.find(key)?.material.equals(key.material), 'each key, under the new KEK')
  const again = await runInProcess([...args, '--json'])
  t.match(again, { code: 1, stderr: /recovery_target_used/ }, 'and nothing is restored over it')
})

t.test('a drill of a compressed dump leaves nothing behind, whatever becomes of it', async t => {
  const { file, dump, identity, signer, directory } = await backupOf()
  const workDir = temporaryDirectory(t)
  const drill = async (text: Uint8Array, ...more: string[]) => {
    const args = ['--dump', file('dump.gz', gzipSync(text)), '--work-dir', workDir, '--checkpoints', directory]
    const result = await runInProcess(['drill', ...args, ...more])
    t.strictSame(readdirSync(workDir), [], 'nothing is left')
    return result
  }
  const withIdentity = ['--identity', identity]
  const good = await drill(dump, ...withIdentity, '--key', signer.verifierKey)
  t.match(good, {
    code: 0,
    stdout: /dump: gzip.*\naudit log: intact, 3 events, compared with that of 3; 2 were signed after/s,
  })
  t.match(good.stdout, /\nsound, in [\d.]+ s\n$/)

  const stranger = file('stranger', `${await generateIdentity()}\n`)
  t.match(await drill(dump, '--identity', stranger), { code: 1, stdout: '', stderr: /recovery_invalid: no identity/ })
  const text = dump.toString('utf8')
  // One byte of one sealed original, and one of one event.
  const sealed = /^(COPY pii_vault\.originals .*\n.*\\\\x)(.)/m
  const edited = text.replace(sealed, (_, before, digit) => before + (digit === '0' ? '1' : '0'))
  t.match(await drill(Buffer.from(edited), ...withIdentity, '--sample', '1000'), {
    code: 1,
    stdout: /39 of 40 tried open, 1 original_not_authentic\n.*NOT sound/s,
  })
  const forged = text.replace(/^(COPY pii_vault\.audit_log .*\n.*)6e(.*)$/m, '$16f$2')
  t.match(await drill(Buffer.from(forged), ...withIdentity), { code: 1, stdout: /audit log: NOT intact/ })
})

t.test('a drill that is stopped or killed in the middle is cleared away', async t => {
  const { path, identity } = await backupOf()
  const workDir = temporaryDirectory(t)
  const args = ['drill', '--dump', path, '--identity', identity, '--work-dir', workDir]
  const stopped = startCommand(t, args)
  await once(stopped.process.stderr!, 'data')
  stopped.process.kill('SIGINT')
  t.match(await stopped.ended, { code: 1 })
  t.match(stopped.stderr(), /recovery_stopped: /)
  t.strictSame(readdirSync(workDir), [])
  const killed = startCommand(t, args)
  await once(killed.process.stderr!, 'data')
  killed.process.kill('SIGKILL')
  await killed.ended
  t.equal(readdirSync(workDir).length, 1)
  t.match(await runInProcess(args), { code: 0 })
  t.strictSame(readdirSync(workDir), [], 'the next drill removes both')
})

t.test('a backup of an earlier release is brought up to this one, with the KEK of that time', async t => {
  const { adminUrl } = await createTestDatabase(t)
  const migrations = new URL('../../../migrations/', import.meta.url)
  const earlier = temporaryDirectory(t)
  for (const name of readdirSync(migrations).filter(name => name < '0028'))
    copyFileSync(new URL(name, migrations), join(earlier, name))
  const database = openDatabase(t, adminUrl, 2)
  await migrate(database, pathToFileURL(`${earlier}/`))
  const kek = join(temporaryDirectory(t), 'kek')
  t.equal((await runInProcess(['key', 'new', kek])).code, 0)
  await createMissingKeys(createKeyWriter(database), openLocalKek(kek), { tenant: 'default', fields: loginFields })
  await createFieldRecordWriter(database).recordFields([...loginFields.values()].map(describeField))
  const { file, identity } = await backupOf()
  const dump = file('earlier.sql', await pgDump(t, adminUrl))
  const { urlFile } = await emptyTarget(t, file)
  const args = ['recover', '--dump', dump, '--database-url-file', urlFile, '--json']
  const other = join(temporaryDirectory(t), 'kek')
  t.equal((await runInProcess(['key', 'new', other])).code, 0)
  const noRecovery = await runInProcess([...args, '--identity', identity, '--kek', other])
  t.match(noRecovery, { code: 1, stderr: /recovery_invalid: the dump holds no recovery/ })
  t.match(await runInProcess([...args, '--kek', other]), { code: 2, stderr: /kek_mismatch/ })
  const { code, stdout } = await runInProcess([...args, '--kek', kek])
  t.equal(code, 0)
  t.match(JSON.parse(stdout), { isSound: true, keys: { openedBy: 'kek' } })
})

t.test('into a data directory of its own, from which npm start goes on', async t => {
  const { path, identity } = await backupOf()
  const dataDir = join(temporaryDirectory(t), 'state')
  const args = ['recover', '--dump', path, '--identity', identity, '--data-dir', dataDir]
  t.match(await runInProcess(args), { code: 0, stdout: /\nsound, in / })
  t.ok(existsSync(join(dataDir, 'kek')))
  t.match(await runInProcess(args), { code: 1, stderr: /recovery_target_used/ })
})

t.test('what was destroyed after the backup is not brought back, and what was made since is known', async t => {
  const { path, identity, file, administrator, database, environment } = await backupOf()
  const made = await administrator.create({ purpose: 'data', field: 'ip' })
  await administrator.promote(made)
  const old = { purpose: 'data', field: 'ip', version: 1 } as const
  await administrator.scheduleDestruction(old, new Date(Date.now() - 1), 40)
  await administrator.destroyDue()
  const published = file('recovery.age', (await createKeyRecoveryStore(database()).readRecovery())!.sealed)
  const { adminUrl, urlFile } = await emptyTarget(t, file)
  const recipients = { KEK_FILE: environment.KEK_FILE, RECOVERY_RECIPIENTS: environment.RECOVERY_RECIPIENTS }
  const args = [
    'recover',
    '--dump',
    path,
    '--identity',
    identity,
    '--recovery',
    published,
    '--database-url-file',
    urlFile,
  ]
  const { code, stdout } = await runInProcess([...args, '--json'], recipients)
  t.equal(code, 1, 'what the key sealed is lost, as was meant')
  t.match(JSON.parse(stdout), {
    keys: { openedBy: 'file', destroyed: ['data/ip/v1'], added: ['data/ip/v2'] },
    originals: [{ opened: 40 }, { field: 'ip', opened: 0, refused: { key_unavailable: 40 } }],
  })
  const list = await runInProcess(['keys', 'list', '--json'], { ...environment, DATABASE_URL: adminUrl })
  const { keys, recovery } = JSON.parse(list.stdout)
  const states = Object.fromEntries(keys.map(({ key, status }: Record<string, string>) => [key, status]))
  t.match(states, { 'data/ip/v1': 'destroyed', 'data/ip/v2': 'primary' })
  t.equal(recovery.state, 'current', 'and the recovery holds the keys as they are')
})
