import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { checkErasureLedger, composeErasures, publishErasures, reapplyErasures } from '../../src/compose/erasures.ts'
import { createFileErasures } from '../../src/publish/erasures.ts'
import { createActionLog } from '../../src/store/action-log.ts'
import { createErasureLedger } from '../../src/store/erasures.ts'
import { createIngestStore } from '../../src/store/ingest.ts'
import { createLedger } from '../../src/store/ledger.ts'
import { checkCertificate } from '../../src/tlog/erasure-certificate.ts'
import { createOpenAction } from '../../src/vault/admission/open-action.ts'
import type { Principal } from '../../src/vault/admission/ports.ts'
import { loginFields } from '../../src/vault/fields/fields.ts'
import { parsePolicyFile } from '../../src/vault/files/policy-file.ts'
import { reconcile } from '../../src/vault/ledger/reconcile.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { startEvidence } from '../helpers/evidence/evidence.ts'
import { day, loginRow, messageOf } from '../helpers/queue/tokenized-messages.ts'

const officer: Principal = { issuer: 'https://issuer.test', subject: 'dpo-1', roles: ['privacy'], channel: 'http' }

async function startErasures(t: Test, policyText = 'erasure: { approval: none }') {
  const evidence = await startEvidence(t)
  const { keys, signer, apiDatabase } = evidence
  const policy = parsePolicyFile(`version: 1\n${policyText}\nroles: { privacy: { people: true } }\n`, {
    source: 'policy.yaml',
    fields: loginFields,
  })
  const directory = temporaryDirectory(t)
  const published = createFileErasures(directory)
  const verbs = composeErasures({
    fields: loginFields,
    keys,
    signer,
    openAction: createOpenAction({ log: createActionLog(apiDatabase), keys, policy: () => policy }),
    database: apiDatabase,
    privacy: evidence.database('tokenvault_privacy', 2),
    sink: { erasures: published },
  })
  const store = createIngestStore(evidence.database('tokenvault_worker', 2), loginFields)
  const erase = (userId: string, more = {}) =>
    verbs.erase(officer, { requestId: 'r', userId, ticket: 'DSR-1', dryRun: false, ...more })
  const isConsistent = async () => {
    const found = await reconcile(createLedger(evidence.database('tokenvault_auditor', 1)), loginFields)
    return found.isConsistent ? 'consistent' : found
  }
  return { ...evidence, published, verbs, store, erase, isConsistent }
}

t.test('a person goes with what only they had; what others have stays and is counted', async t => {
  const { store, tokenizer, erase, admin, isConsistent, verifier, verbs, startMaker } = await startErasures(t)
  const shared = loginRow(tokenizer, 1)
  await store.storeMessages([
    messageOf('m-1', loginRow(tokenizer, 1, { userId: 'ann' })),
    messageOf('m-2', loginRow(tokenizer, 2, { userId: 'ann', createDate: day(-1) })),
    messageOf(
      'm-3',
      loginRow(tokenizer, 3, { userId: 'ben', tokens: [shared.tokens[0]!, loginRow(tokenizer, 3).tokens[1]!] }),
    ),
  ])
  t.match(await erase('ann', { dryRun: true }), {
    outcome: 'counted',
    counts: [
      { kind: 'original', field: 'device_id', count: 2 },
      { kind: 'original', field: 'ip', count: 1 },
      { kind: 'row', count: 2 },
      { kind: 'shared', field: 'ip', count: 1 },
    ],
  })
  t.equal((await admin.query('SELECT FROM user_logins')).rowCount, 3, 'a dry run changes nothing')
  const done = await erase('ann')
  t.match(done, { outcome: 'erased', number: 1, isPublished: true })
  t.equal((await admin.query('SELECT FROM user_logins')).rowCount, 1)
  t.equal((await admin.query('SELECT FROM pii_vault.originals')).rowCount, 2)
  t.equal(await isConsistent(), 'consistent')
  await t.rejects(erase('ann'), { code: 'person_erased' })
  await t.rejects(erase('nobody'), { code: 'person_unknown' })
  await startMaker()()
  const file = await verbs.show(officer, { requestId: 'r', number: 1 })
  t.match(checkCertificate(file, verifier), { isProven: true, erasure: { number: 1, rows: 'remove' } })
})

t.test('rows can be kept without user_id, and without tokens that only the person had', async t => {
  const { store, tokenizer, erase, admin, isConsistent } = await startErasures(t)
  const ben = loginRow(tokenizer, 3, { tokens: [loginRow(tokenizer, 1).tokens[0]!, loginRow(tokenizer, 3).tokens[1]!] })
  await store.storeMessages([messageOf('m-1', loginRow(tokenizer, 1, { userId: 'ann' })), messageOf('m-2', ben)])
  t.match(await erase('ann', { rows: 'anonymize' }), { outcome: 'erased', rows: 'anonymize' })
  const { rows } = await admin.query('SELECT * FROM user_logins WHERE user_id IS NULL')
  t.match(rows, [{ masked_ip: ben.tokens[0]!.token, masked_device_id: null, locale: 'PT' }])
  t.equal((await admin.query('SELECT FROM pii_vault.originals')).rowCount, 2)
  t.equal(await isConsistent(), 'consistent')
})

t.test('a row that is being stored while its original would go keeps it', async t => {
  const { store, tokenizer, erase, admin, connect, isConsistent } = await startErasures(t)
  const ann = loginRow(tokenizer, 1, { userId: 'ann' })
  await store.storeMessages([messageOf('m-1', ann)])
  const worker = await connect('tokenvault_worker')
  // As a worker stores: the originals first. They are there, so nothing is inserted, and no row is locked.
  await worker.query('BEGIN')
  await worker.query(
    `INSERT INTO pii_vault.originals (token_id, field, token_key_version, data_key_version, sealed)
     SELECT $1::uuid, 'ip', 1, 1, '' ON CONFLICT DO NOTHING`,
    [ann.tokens[0]!.original.tokenId],
  )
  const erasing = erase('ann')
  for (;;) {
    const { rowCount } = await admin.query(
      `SELECT FROM pg_locks WHERE relation = 'pii_vault.originals'::regclass AND NOT granted`,
    )
    if (rowCount === 1) break
  }
  await worker.query(`INSERT INTO user_logins VALUES ('ben', 'ios', $1, NULL, NULL, 1, current_date)`, [
    ann.tokens[0]!.token,
  ])
  await worker.query(`INSERT INTO ingest.receipts VALUES (current_date, 'by-hand', 1, 0)`)
  await worker.query('COMMIT')
  t.match(await erasing, {
    outcome: 'erased',
    counts: [
      { kind: 'original', field: 'device_id', count: 1 },
      { kind: 'row' },
      { kind: 'shared', field: 'ip', count: 1 },
    ],
  })
  t.equal(await isConsistent(), 'consistent')
})

t.test('ingest of the same tokens goes on during erasures, two of them at once', async t => {
  const { store, tokenizer, erase, isConsistent } = await startErasures(t)
  const outcomes = new Map<string, number>()
  const count = (outcome: string) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
  for (let round = 0; round < 15; round++) {
    await store.storeMessages([messageOf(`a-${round}`, loginRow(tokenizer, round % 3, { userId: 'ann' }))])
    const stored = Array.from({ length: 4 }, (_, n) =>
      store.storeMessages([
        messageOf(`b-${round}-${n}`, loginRow(tokenizer, (round + n) % 3, { userId: n === 3 ? 'ann' : `ben-${n}` })),
      ]),
    )
    const erased = ['ann', 'ann', `ben-${round % 3}`].map(userId =>
      erase(userId).then(
        ({ outcome }) => count(outcome),
        error => count(error.code),
      ),
    )
    await Promise.all([...stored, ...erased])
  }
  t.ok(outcomes.get('erased')! >= 15, JSON.stringify([...outcomes]))
  t.strictSame(
    [...outcomes.keys()].filter(code => !['erased', 'person_erased', 'person_unknown'].includes(code)),
    [],
  )
  t.equal(await isConsistent(), 'consistent')
})

t.test('a backup that is restored does not bring a person back', async t => {
  const started = await startErasures(t)
  const { store, tokenizer, erase, admin, isConsistent, apiDatabase, keys, signer, published, tamper, verifier } =
    started
  const ann = loginRow(tokenizer, 1, { userId: 'ann' })
  await store.storeMessages([messageOf('m-1', ann), messageOf('m-2', loginRow(tokenizer, 2, { userId: 'ben' }))])
  const tables = [
    'user_logins',
    'pii_vault.originals',
    'pii_vault.erasures',
    'pii_vault.erasure_head',
    'pii_vault.erased_tokens',
    'pii_vault.erased_counts',
  ]
  const copyOf = (table: string) => `backup_${table.replace('.', '_')}`
  for (const table of tables) await admin.query(`CREATE TABLE ${copyOf(table)} AS TABLE ${table}`)
  await erase('ann')
  const ledger = createErasureLedger(apiDatabase)
  const before = await ledger.findEntry(1)
  await checkErasureLedger(apiDatabase, published)

  for (const table of tables) await tamper(`DELETE FROM ${table}; INSERT INTO ${table} TABLE ${copyOf(table)}`)
  t.equal((await admin.query(`SELECT FROM user_logins WHERE user_id = 'ann'`)).rowCount, 1, 'the backup holds her')
  await t.rejects(checkErasureLedger(apiDatabase, published), { code: 'erasure_ledger_behind' })
  const reapply = () =>
    reapplyErasures({ database: started.database(), fields: loginFields, keys, signer, published, login: 'postgres' })
  t.strictSame(await reapply(), { entries: 1, people: 1, rows: 1 })
  t.equal((await admin.query(`SELECT FROM user_logins WHERE user_id = 'ann'`)).rowCount, 0)
  t.equal((await admin.query('SELECT FROM pii_vault.originals')).rowCount, 2)
  t.strictSame(await ledger.findEntry(1), before, 'the ledger is as it was')
  t.equal(await isConsistent(), 'consistent')
  t.strictSame(await reapply(), { entries: 0, people: 0, rows: 0 })
  await checkErasureLedger(apiDatabase, published)
  await t.rejects(erase('ann'), { code: 'person_erased' })
  t.match(await erase('ben'), { number: 2 })
  const second = await published.read(2)
  const text = before!.certificate.slice(0, before!.certificate.lastIndexOf('\n\n') + 1)
  const previous = createHash('sha256').update(text).digest('base64')
  t.equal(checkCertificate(second, verifier).erasure.previous, previous, 'the next entry is bound to it')
})

t.test('an entry that was published late is published; one that was changed is not re-applied', async t => {
  const started = await startErasures(t)
  const { store, tokenizer, erase, apiDatabase, keys, signer, published, tamper } = started
  await store.storeMessages([messageOf('m-1', loginRow(tokenizer, 1, { userId: 'ann' }))])
  await erase('ann')
  const ledger = createErasureLedger(apiDatabase)
  const other = createFileErasures(temporaryDirectory(t))
  t.equal(await publishErasures(ledger, other, 0), 1)
  t.strictSame(await other.read(1), await published.read(1))
  await tamper(`DELETE FROM pii_vault.erasures; DELETE FROM pii_vault.erased_tokens; DELETE FROM pii_vault.erased_counts;
    UPDATE pii_vault.erasure_head SET number = 0, entry_hash = sha256('')`)
  const entry = (await other.read(1))!
  const changed = (change: object) => ({ findNewest: async () => 1, read: async () => ({ ...entry, ...change }) })
  const reapply = (change: object) =>
    reapplyErasures({
      database: started.database(),
      fields: loginFields,
      keys,
      signer,
      login: 'postgres',
      published: changed(change),
    })
  await t.rejects(reapply({ tokens: entry.tokens.slice(1) }), { code: 'erasure_invalid' })
  await t.rejects(reapply({ certificate: entry.certificate.replace('"rows":"remove"', '"rows":"anonymize"') }), {
    code: 'erasure_invalid',
  })
  t.match(await reapply({}), { entries: 1, people: 0 })
})
