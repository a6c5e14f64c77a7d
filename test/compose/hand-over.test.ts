import { createPublicKey, verify } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { composeSink } from '../../src/compose/evidence.ts'
import { openKeyAdministrator } from '../../src/compose/key-administration.ts'
import { openSigningVault } from '../../src/compose/vault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createActionLog } from '../../src/store/action-log.ts'
import { createAuditReader, createCheckpointStore } from '../../src/store/audit-reader.ts'
import { checkReceipt } from '../../src/tlog/check-receipt.ts'
import { readLogKeys } from '../../src/tlog/key-history.ts'
import type { Receipt } from '../../src/tlog/receipt.ts'
import { signReceiptOf } from '../../src/vault/admission/log-signer.ts'
import { createMakeCheckpoint } from '../../src/vault/evidence/make-checkpoint.ts'
import { createProver } from '../../src/vault/evidence/prove.ts'
import { verifyAudit } from '../../src/vault/evidence/verify/verify.ts'
import type { KeyName } from '../../src/vault/keys/keyset.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { until } from '../helpers/faults/plan.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { createTestLog } from '../helpers/queue/server.ts'
import { makeAction } from '../helpers/vault/actions.ts'

const key = (version: number): KeyName => ({ purpose: 'signing', field: '', version })

/** Whether the text bears the signature: by the bytes of the verifier key and Ed25519 alone, with nothing of ours. */
function isSigned(text: string, signature: string, verifierKey: string): boolean {
  const raw = Buffer.from(verifierKey.split('+').slice(2).join('+'), 'base64').subarray(1)
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw])
  const publicKey = createPublicKey({ key: der, format: 'der', type: 'spki' })
  return verify(null, Buffer.from(text), publicKey, Buffer.from(signature, 'base64').subarray(4))
}

t.test('the signing key is handed over while two APIs sign, and what either key signed is checked offline', async t => {
  const vault = await createVaultDatabase(t)
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile }
  const administrator = await openKeyAdministrator(loadConfig('migrate', environment), environment)
  t.teardown(() => administrator.close())
  const folder = temporaryDirectory(t)
  const sink = (await composeSink({ CHECKPOINT_URL: `${pathToFileURL(folder)}/` } as never, {}))!
  const apis = await Promise.all(
    [1, 2].map(async () => {
      const config = loadConfig('lambda', { DATABASE_URL: vault.urlFor('tokenvault_api'), KEK_FILE: vault.kekFile })
      const opened = await openSigningVault(config, { environment: {}, applicationName: 'test' })
      t.teardown(() => opened.database.destroy())
      const followed = opened.follow(createTestLog().log)
      t.teardown(() => followed.stop())
      const { database, signer } = opened
      const reader = createAuditReader(database)
      const make = createMakeCheckpoint({ reader, store: createCheckpointStore(database), signer, sink })
      return { ...opened, reader, make, actions: createActionLog(database) }
    }),
  )
  const pinned = apis[0]!.signer.verifierKey
  const receipts: Receipt[] = []
  let isOver = false
  const work = apis.flatMap(({ actions, signer }) =>
    Array.from({ length: 4 }, async () => {
      while (!isOver) {
        const committed = await actions.commit(makeAction('r'))
        if ('sequence' in committed) receipts.push(await signReceiptOf(signer, committed))
      }
    }),
  )
  await until('there are receipts', () => receipts.length > 20)
  await apis[0]!.make()
  t.same(await administrator.create(key(1)), key(2))
  // Nobody waits until the APIs hold the new key: a slow one must fail no request either.
  await t.rejects(administrator.scheduleDestruction(key(1), new Date(), 0), { code: 'key_state_invalid' })
  await administrator.promote(key(2))
  const from = receipts.length
  await until('receipts go on', () => receipts.length > from + 50)
  isOver = true
  await Promise.all(work)
  t.not(apis[0]!.signer.verifierKey, pinned)
  await Promise.all(apis.map(({ make }) => make()))

  const [handOver] = await apis[0]!.reader.readHandOvers()
  const { treeSize, note } = handOver!
  const published = readdirSync(folder).filter(name => name.endsWith('.hand-over'))
  t.strictSame(
    published.map(name => readFileSync(join(folder, name), 'utf8')),
    [note],
  )
  const [text, lines] = [
    note.slice(0, note.lastIndexOf('\n\n') + 1),
    note.slice(note.lastIndexOf('\n\n') + 2).split('\n'),
  ]
  const [, , old, fresh] = text.split('\n') as [string, string, string, string]
  t.equal(old, pinned)
  for (const [index, own] of [old, fresh].entries())
    t.ok(isSigned(text, lines[index]!.split(' ')[2]!, own), 'both signed')
  t.ok(receipts.some(({ sequence }) => sequence < treeSize) && receipts.some(({ sequence }) => sequence > treeSize))
  for (const { log, sequence, leafHash, signature } of receipts) {
    const said = `tokenvault receipt v1\n${log}\n${sequence}\n${leafHash}\n`
    if (!isSigned(said, signature, sequence < treeSize ? old : fresh)) t.fail(`receipt ${sequence} of ${treeSize}`)
  }
  const keys = readLogKeys(`${pinned}\n${note}`)
  const prover = createProver(apis[0]!.reader, keys)
  for (const receipt of [receipts[0]!, receipts.at(-1)!])
    t.match(checkReceipt(receipt, keys, await prover.proveInclusion(receipt.sequence)), { sequence: receipt.sequence })
  const check = () => apis[0]!.reader.snapshot(view => verifyAudit(view, { verifier: readLogKeys(pinned) }))
  t.match(await check(), { isIntact: true, checkpoints: { stored: 2 }, signaturesChecked: true })

  await t.rejects(administrator.disable(key(1)), { code: 'key_state_invalid' })
  await t.rejects(administrator.scheduleDestruction(key(2), new Date(), 0), { code: 'key_state_invalid' })
  await administrator.scheduleDestruction(key(1), new Date(), 0)
  t.same(await administrator.destroyDue(), { destroyed: [key(1)], inUse: [] })
  await until('the old private half is gone', () => apis[0]!.keys.signers(apis[0]!.signer.name).length === 1)
  t.match(await check(), { isIntact: true }, 'checking goes on')
  await administrator.promote(await administrator.create(key(1)), 'revoked')
  await apis[1]!.actions.commit(makeAction('r'))
  t.match(await apis[1]!.make(), {}, 'and handing over')
  t.match(await check(), { isIntact: true })

  const owner = await vault.connect()
  await owner.query('ALTER TABLE pii_vault.signing_hand_overs DISABLE TRIGGER ALL')
  await owner.query("UPDATE pii_vault.signing_hand_overs SET note = replace(note, 'revoked', 'routine')")
  t.ok(
    (await check()).findings.some(({ code }) => code === 'hand_over_invalid'),
    'the mark cannot be taken off',
  )
  await t.rejects(apis[0]!.make(), { code: 'audit_invalid', message: /^a stored hand-over is not one of this log/ })
})
