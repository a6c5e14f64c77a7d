import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import t, { type Test } from 'tap'
import { openKeyAdministrator } from '../../src/compose/key-administration.ts'
import { prepareDatabase } from '../../src/compose/prepare-database.ts'
import { loadConfig } from '../../src/config/load.ts'
import { openWithIdentity } from '../../src/kms/age.ts'
import { createKeyRecoveryStore } from '../../src/store/key-recovery.ts'
import { formatKeyName } from '../../src/vault/keys/keyset.ts'
import { readRecovery } from '../../src/vault/keys/recovery.ts'
import { runInProcess } from '../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { createVaultDatabase, type VaultDatabase } from '../helpers/postgres/vault-database.ts'

async function createIdentityFile(t: Test): Promise<{ path: string; recipient: string }> {
  const identity = await generateIdentity()
  const path = join(temporaryDirectory(t), 'identity')
  writeFileSync(path, `${identity}\n`, { mode: 0o600 })
  return { path, recipient: await identityToRecipient(identity) }
}

async function openStored(vault: VaultDatabase, identity: { path: string }) {
  const recovery = await createKeyRecoveryStore(vault.database()).readRecovery()
  const sealed = Buffer.from(recovery?.sealed ?? '')
  const bytes = await openWithIdentity(sealed, { name: '--identity', path: identity.path })
  return bytes === undefined ? undefined : readRecovery(bytes)
}

function environmentOf(vault: VaultDatabase, recipients: readonly string[]) {
  return {
    DATABASE_URL: vault.adminUrl,
    KEK_FILE: vault.kekFile,
    ...(recipients.length === 0 ? {} : { RECOVERY_RECIPIENTS: recipients.join(',') }),
  }
}

async function migrateWith(vault: VaultDatabase, recipients: readonly string[]) {
  const environment = environmentOf(vault, recipients)
  return prepareDatabase(loadConfig('migrate', environment), { environment })
}

async function administer(t: Test, vault: VaultDatabase, recipients: readonly string[]) {
  const environment = environmentOf(vault, recipients)
  const administrator = await openKeyAdministrator(loadConfig('migrate', environment), environment)
  t.teardown(() => administrator.close())
  return administrator
}

const name = { purpose: 'data', field: 'ip', version: 1 } as const

t.test('at every change of keys the recipients, and they alone, hold the keyset as it is', async t => {
  const vault = await createVaultDatabase(t)
  const [first, second, stranger] = [
    await createIdentityFile(t),
    await createIdentityFile(t),
    await createIdentityFile(t),
  ]
  const recipients = [first.recipient, second.recipient]
  t.equal((await migrateWith(vault, recipients)).recoveryMade, true)
  t.equal((await migrateWith(vault, recipients)).recoveryMade, false, 'which is enough')
  for (const identity of [first, second]) {
    const { keyset, tenant } = (await openStored(vault, identity))!
    t.equal(tenant, 'default')
    t.same(keyset.all().map(formatKeyName).sort(), vault.keyset.all().map(formatKeyName).sort())
    for (const key of vault.keyset.all()) t.ok(keyset.find(key)?.material.equals(key.material), formatKeyName(key))
  }
  t.equal(await openStored(vault, stranger), undefined)

  const administrator = await administer(t, vault, recipients)
  const made = await administrator.create(name)
  t.ok((await openStored(vault, first))?.keyset.find(made), 'a new key, with the same commit')
  await administrator.promote(made)
  t.equal((await openStored(vault, first))?.keyset.primary('data', 'ip').version, 2)
  await administrator.scheduleDestruction(name, new Date(Date.now() - 1), 0)
  t.match(await administrator.destroyDue(), { destroyed: [name], inUse: [] })
  const after = (await openStored(vault, second))!
  t.notOk(
    after.keyset.all().some(key => formatKeyName(key) === 'data/ip/v1'),
    'a destroyed key is in no recovery',
  )
  t.same([...after.destroyed], ['data/ip/v1'])
  const { rows } = await (await vault.connect()).query('SELECT count(*)::int FROM pii_vault.key_recovery')
  t.same(rows, [{ count: 1 }], 'and no earlier recovery stays')
  t.match(await administrator.readRecovery(), { state: 'current' })

  await migrateWith(vault, [second.recipient])
  t.equal(await openStored(vault, first), undefined, 'who is a recipient no more opens nothing that is stored')
})

t.test('a recovery that is missing or outdated is told, and never outlives a key that is destroyed', async t => {
  const vault = await createVaultDatabase(t)
  const identity = await createIdentityFile(t)
  const list = async (recipients: readonly string[]) => {
    const { stdout } = await runInProcess(['keys', 'list', '--json'], environmentOf(vault, recipients))
    return JSON.parse(stdout).recovery.state
  }
  t.equal(await list([]), 'not_configured')
  t.equal(await list([identity.recipient]), 'none')
  await migrateWith(vault, [identity.recipient])
  t.equal(await list([]), 'current')
  t.equal(await list([(await createIdentityFile(t)).recipient]), 'recipients_outdated')
  const careless = await administer(t, vault, [])
  const made = await careless.create(name)
  t.equal(await list([]), 'keys_outdated')
  const doctor = await runInProcess(['doctor'], environmentOf(vault, [identity.recipient]))
  t.match(doctor.stdout, /keys were changed since their recovery was made/)
  await careless.promote(made)
  await careless.scheduleDestruction(name, new Date(Date.now() - 1), 0)
  await careless.destroyDue()
  t.equal(await list([identity.recipient]), 'none', 'nobody could make another one, so there is none')
  await migrateWith(vault, [identity.recipient])
  t.equal(await list([identity.recipient]), 'current')
  // A key that was edited by hand is not the one that was recovered.
  await (await vault.connect()).query(`UPDATE pii_vault.keys SET wrapped = wrapped || '\\x00' WHERE purpose = 'audit'`)
  const store = createKeyRecoveryStore(vault.database())
  const stale = (await store.readRecovery())!
  await t.rejects(store.replaceRecovery(stale), { code: 'keys_changed' })
})

t.test('a recipient that is none is refused before anything is changed, and is not repeated', async t => {
  const vault = await createVaultDatabase(t)
  const { recipient, path } = await createIdentityFile(t)
  const secret = readFileSync(path, 'utf8').trim()
  for (const wrong of ['age1nobody', secret, `${recipient.slice(0, -1)}`, 'somebody@example.com', ' , ']) {
    const { code, stderr } = await runInProcess(['migrate'], environmentOf(vault, [wrong]))
    t.equal(code, 2, stderr)
    t.match(stderr, /config_invalid: .*RECOVERY_RECIPIENTS/s)
    t.notMatch(stderr, wrong.trim() === ',' ? secret : wrong)
  }
  t.equal(await createKeyRecoveryStore(vault.database()).readRecovery(), undefined)
})
