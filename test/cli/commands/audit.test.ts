import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createAuditReader } from '../../../src/store/audit-reader.ts'
import { signCheckpoint } from '../../../src/tlog/checkpoint.ts'
import { foldRoots } from '../../../src/tlog/merkle.ts'
import { signReceipt } from '../../../src/tlog/receipt.ts'
import { createNoteSigner } from '../../../src/tlog/signed-note.ts'
import { runCommand } from '../../helpers/cli/cli.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

/** A log of ten events with checkpoints of five and of ten, kept in the database and in a directory. */
async function startLog(t: Test) {
  const vault = await createVaultDatabase(t)
  const directory = temporaryDirectory(t)
  const signer = vault.keys.signer('tokenvault/default')
  const api = await vault.connect('tokenvault_api')
  const reader = createAuditReader(vault.database('tokenvault_auditor', 1))
  const kept = join(directory, 'checkpoints')
  mkdirSync(kept)
  for (const from of [0, 5]) {
    const events = Array.from({ length: 5 }, (_, n) => Buffer.from(`{"subject":"s-${from + n}","tokens":[]}`))
    await api.query('SELECT pii_vault.append_audit($1)', [events])
    const { treeSize, subtreeRoots } = await reader.readHead()
    const note = signCheckpoint(signer, { treeSize, root: foldRoots(subtreeRoots) })
    await api.query('SELECT pii_vault.insert_checkpoint($1, $2)', [treeSize, note])
    writeFileSync(join(kept, `${treeSize}.note`), note)
  }
  const file = (name: string, content?: string) => {
    const path = join(directory, name)
    if (content !== undefined) writeFileSync(path, content)
    return path
  }
  const environment = { DATABASE_URL: vault.urlFor('tokenvault_auditor') }
  const run = (...args: string[]) => runInProcess(args, environment)
  const offline = (...args: string[]) => runInProcess(args)
  return {
    vault,
    directory,
    signer,
    reader,
    kept,
    environment,
    key: signer.verifierKey,
    file,
    run,
    offline,
    admin: await vault.connect(),
  }
}

t.test('audit verify: an intact log, for scripts and for people', async t => {
  const { run, key, kept, file, environment } = await startLog(t)
  const json = await runCommand(t, ['audit', 'verify', '--json', '--key', key, '--checkpoint', kept], environment)
  t.strictSame({ ...json, stdout: '' }, { code: 0, stdout: '', stderr: '' })
  t.match(JSON.parse(json.stdout), {
    log: 'tokenvault/default',
    isIntact: true,
    events: 10,
    checkpoints: { stored: 2, external: 2 },
    signaturesChecked: true,
    findings: [],
    omitted: 0,
  })
  const people = await run('audit', 'verify', '--key', file('key', `${key}\n`))
  t.equal(people.code, 0)
  t.match(people.stdout, /^log +tokenvault\/default\nevents +10\nroot +\S{44}\ncheckpoints +2 .*\nintact\n$/)
  t.match((await run('audit', 'verify')).stdout, /signatures +NOT checked: give --key\nintact\n$/)
})

t.test('audit verify: a log that was altered and made to fit, found by a kept checkpoint', async t => {
  const { run, admin, key, kept, file } = await startLog(t)
  await admin.query(`SET search_path = pii_vault; ALTER TABLE audit_log DISABLE TRIGGER USER;
    ALTER TABLE checkpoints DISABLE TRIGGER USER;
    CREATE TEMP TABLE rewritten AS SELECT sequence, event FROM audit_log; DELETE FROM audit_log; DELETE FROM checkpoints;
    UPDATE rewritten SET event = '\\x7b7d' WHERE sequence = 7; UPDATE audit_head SET tree_size = 0, frontier = '{}';
    SELECT append_audit((SELECT array_agg(event ORDER BY sequence) FROM rewritten))`)
  t.equal((await run('audit', 'verify', '--key', key)).code, 0, 'without one it fits')
  const people = await run('audit', 'verify', '--key', key, '--checkpoint', kept)
  t.equal(people.code, 1)
  t.equal(people.stderr, '')
  t.match(
    people.stdout,
    /^checkpoint_mismatch: .*checkpoint of 10 events \(.*10\.note\), the difference lies at 5 ≤ sequence < 10$/m,
  )
  t.match(people.stdout, /\nNOT intact\. .*\n$/)
  // As the API writes them to standard output, among other lines.
  const lines = [
    '{"level":30,"event":"api_listening"}',
    JSON.stringify({ event: 'checkpoint', treeSize: 10, note: readFileSync(join(kept, '10.note'), 'utf8') }),
  ]
  const json = await run(
    'audit',
    'verify',
    '--json',
    '--key',
    key,
    '--checkpoint',
    file('api.log', `${lines.join('\n')}\n`),
  )
  t.equal(json.code, 1)
  t.match(JSON.parse(json.stdout).findings, [{ code: 'checkpoint_mismatch', from: 0, to: 10, source: /api\.log:2$/ }])
})

t.test('audit prove and check: what an outsider is given, and checks without any connection', async t => {
  const { run, offline, key, kept, file, signer } = await startLog(t)
  const proof = file('proof.json')
  t.strictSame(await run('audit', 'prove', '3', '--key', key, '--out', proof), { code: 0, stdout: '', stderr: '' })
  const checked = await offline('audit', 'check', proof, '--key', key)
  t.strictSame({ ...checked, stdout: '' }, { code: 0, stdout: '', stderr: '' })
  t.match(
    checked.stdout,
    /^proven: the event stands at sequence 3 of tokenvault\/default with 10 events\n\{"subject":"s-3"/,
  )
  t.equal((await offline('audit', 'check', proof, '--key', key, '--checkpoint', join(kept, '10.note'))).code, 0)
  const bare = file('bare.json', (await run('audit', 'prove', '3', '--size', '5', '--no-event')).stdout)
  const json = JSON.parse((await offline('audit', 'check', bare, '--key', key, '--json')).stdout)
  t.match(json, { kind: 'inclusion', sequence: 3, event: undefined, checkpoint: { treeSize: 5 } })
  const grown = file('grown.json', (await run('audit', 'prove', '--from', '5')).stdout)
  t.match(
    (await offline('audit', 'check', grown, '--key', key, '--checkpoint', join(kept, '5.note'))).stdout,
    /^proven: .* 10 events has grown out of .* 5 events\n$/,
  )

  const stranger = createNoteSigner('tokenvault/default', Buffer.alloc(32, 9)).verifierKey
  t.equal((await offline('audit', 'check', proof, '--key', key, '--checkpoint', kept)).code, 0, 'one of a directory')
  const other = await offline('audit', 'check', bare, '--key', key, '--checkpoint', join(kept, '10.note'))
  t.match(other, { code: 1, stdout: '', stderr: /^tokenvault: receipt_invalid: the proof is by another checkpoint/ })
  t.match(await offline('audit', 'check', proof, '--key', stranger), {
    code: 1,
    stderr: /^tokenvault: checkpoint_invalid: /,
  })
  const forged = file('forged.json', readFileSync(proof, 'utf8').replace('s-3', 's-4'))
  t.match(await offline('audit', 'check', forged, '--key', key), {
    code: 1,
    stderr: /^tokenvault: receipt_invalid: the leaf hash /,
  })
  t.match(await run('audit', 'prove', '10'), { code: 1, stderr: /^tokenvault: audit_event_unknown: / })

  const receipt = signReceipt(signer, { sequence: 3, leafHash: Buffer.from(json.leafHash, 'base64') })
  const reply = file('reply.json', JSON.stringify({ results: [], receipt }))
  const promised = await offline('receipt', 'verify', reply, '--key', key)
  t.strictSame(promised, {
    code: 0,
    stdout: 'the receipt is genuine: tokenvault/default promised the event at sequence 3\n',
    stderr: '',
  })
  t.match(
    (await offline('receipt', 'verify', reply, '--key', key, '--proof', proof)).stdout,
    /\nand kept it: it stands in the log with 10 events\n\{"subject":"s-3"/,
  )
  t.match(await offline('receipt', 'verify', reply, '--key', key, '--proof', grown), {
    code: 1,
    stderr: /^tokenvault: receipt_invalid: the proof is not about/,
  })
  t.match(await offline('receipt', 'verify', reply, '--key', stranger), {
    code: 1,
    stderr: /^tokenvault: receipt_invalid: the signature/,
  })
})

t.test('audit key: migrate prints the verifier key, and who opens the keyset gets it again', async t => {
  const { vault, key } = await startLog(t)
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile }
  const migrated = await runInProcess(['migrate'], environment)
  t.match(migrated.stdout, `verifier key of the audit log: ${key}\n`)
  t.equal(JSON.parse((await runInProcess(['migrate', '--json'], environment)).stdout).verifierKey, key)
  const asApi = { ...environment, DATABASE_URL: vault.urlFor('tokenvault_api') }
  t.strictSame(await runInProcess(['audit', 'key'], asApi), { code: 0, stdout: `${key}\n`, stderr: '' })
  const named = await runInProcess(['audit', 'key'], { ...asApi, AUDIT_ORIGIN: 'log.example.com/eu' })
  const refused = await runInProcess(['audit', 'key'], { ...asApi, AUDIT_ORIGIN: 'two words' })
  t.match(refused, { code: 2, stderr: /^tokenvault: config_invalid: AUDIT_ORIGIN / })
  t.match(named.stdout, /^log\.example\.com\/eu\+[0-9a-f]{8}\+\S{44}\n$/)
})

t.test('an API without a signing key does not start, and says what to run', async t => {
  const { vault, admin } = await startLog(t)
  await admin.query(`DELETE FROM pii_vault.keys WHERE purpose = 'signing'`)
  const { code, stderr } = await runInProcess(['api'], {
    DATABASE_URL: vault.urlFor('tokenvault_api'),
    KEK_FILE: vault.kekFile,
    JWT_ISSUER: 'https://issuer.test',
    JWT_AUDIENCE: 'tokenvault',
    JWKS_URL: 'http://127.0.0.1:9/jwks',
  })
  t.equal(code, 1)
  t.match(stderr, /^tokenvault: keyset_incomplete: no signing key: `tokenvault migrate`/m)
})

t.test(
  'under `tokenvault up` nothing needs to be named: database, key and checkpoints are in its directory',
  async t => {
    const { vault, directory, key, kept, file } = await startLog(t)
    const url = new URL(vault.urlFor('tokenvault_auditor'))
    mkdirSync(join(directory, 'passwords'))
    writeFileSync(join(directory, 'passwords', 'tokenvault_auditor'), decodeURIComponent(url.password))
    url.username = url.password = ''
    file('running.json', JSON.stringify({ apiUrl: 'http://127.0.0.1:9', databaseUrl: url.href }))
    file('audit.vkey', `${key}\n`)
    const run = (...args: string[]) => runInProcess([...args, '--data-dir', directory])
    const found = JSON.parse((await run('audit', 'verify', '--json')).stdout)
    t.match(found, { isIntact: true, checkpoints: { stored: 2, external: 2 }, signaturesChecked: true })
    t.equal((await run('audit', 'key')).stdout, `${key}\n`)
    t.equal((await run('audit', 'check', file('proof.json', (await run('audit', 'prove', '0')).stdout))).code, 0)
    // Before the first checkpoint there is nothing to compare with, and nothing wrong.
    for (const name of ['5.note', '10.note']) rmSync(join(kept, name))
    t.match(JSON.parse((await run('audit', 'verify', '--json')).stdout), {
      isIntact: true,
      checkpoints: { external: 0 },
    })
  },
)

t.test('mistakes at the command line are told in one line, with exit code 2', async t => {
  const { directory, key, file, kept } = await startLog(t)
  mkdirSync(join(directory, 'empty'))
  const proof = file('none.json', 'no json')
  const mistakes = {
    'no database': ['audit', 'verify'],
    'a checkpoint without a key': ['audit', 'verify', '--checkpoint', kept],
    'a key that is none': ['audit', 'verify', '--key', 'tokenvault/default+00000000+AAAA'],
    'a key file that is not there': ['audit', 'verify', '--key', join(directory, 'nothing')],
    'a directory without checkpoints': ['audit', 'verify', '--key', key, '--checkpoint', join(directory, 'empty')],
    'nothing to prove': ['audit', 'prove'],
    'too much to prove': ['audit', 'prove', '3', '--from', '5'],
    'a size with two checkpoints': ['audit', 'prove', '--from', '5', '--size', '5'],
    '--to alone': ['audit', 'prove', '3', '--to', '5'],
    'a sequence that is none': ['audit', 'prove', 'abc'],
    'a proof that is not there': ['audit', 'check', join(directory, 'nothing'), '--key', key],
    'a proof that is no JSON': ['audit', 'check', proof, '--key', key],
    'a check without a key': ['audit', 'check', proof],
    'a receipt without a key': ['receipt', 'verify', proof],
  }
  for (const [title, args] of Object.entries(mistakes)) {
    const { code, stdout, stderr } = await runInProcess([...args, '--data-dir', directory])
    t.strictSame({ code, stdout }, { code: 2, stdout: '' }, title)
    t.match(stderr, /^tokenvault: (usage|config_invalid): [^\n]+\n$/, title)
  }
})
