import t from 'tap'
import { openKeyAdministrator } from '../../src/compose/key-administration.ts'
import { prepareDatabase } from '../../src/compose/prepare-database.ts'
import { openIngestVault, openSigningVault } from '../../src/compose/vault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { until } from '../helpers/faults/plan.ts'
import { type KmsUnderTest, keyArn, startKms } from '../helpers/kms/kms-server.ts'
import { createTestDatabase } from '../helpers/postgres/embedded-postgres.ts'
import { connectTo } from '../helpers/postgres/vault-database.ts'
import { createTestLog } from '../helpers/queue/server.ts'

/** The variables of a vault whose KEK is in that KMS. */
function environmentOf(kms: KmsUnderTest, url: string) {
  return {
    DATABASE_URL: url,
    KEK_PROVIDER: 'aws-kms',
    KMS_KEY_ARN: keyArn,
    AWS_ENDPOINT_URL_KMS: kms.endpoint,
    AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'secret',
  }
}

t.test(
  'KMS is asked once a start, never for a value; while it is away what runs goes on and nothing new starts',
  async t => {
    const kms = await startKms(t)
    const database = await createTestDatabase(t)
    const environment = environmentOf(kms, database.adminUrl)
    const migrate = () => prepareDatabase(loadConfig('migrate', environment), { environment })
    const asked = () => kms.calls.splice(0).map(({ operation }) => operation)

    kms.behave({ exception: 'AccessDeniedException' })
    await t.rejects(migrate(), { code: 'kek_unavailable', message: /GenerateDataKey: AccessDeniedException/ })
    asked()
    kms.behave('well')
    t.match((await migrate()).keys.length, 7)
    t.same(asked(), ['GenerateDataKey', 'Decrypt'], 'one call makes all keys, and one reads them back')
    t.match((await migrate()).keys.length, 0)
    t.same(asked(), ['Decrypt'])

    const administrator = await openKeyAdministrator(loadConfig('migrate', environment), environment)
    await administrator.create({ purpose: 'data', field: 'ip' })
    await administrator.close()
    t.same(asked(), ['Decrypt', 'GenerateDataKey'], 'and two add a key')

    const open = () => openIngestVault(loadConfig('lambda', environment), { environment, applicationName: 'test' })
    const vault = await open()
    t.teardown(() => vault.database.destroy())
    const body = (n: number) => JSON.stringify({ user_id: `u${n}`, ip: `10.0.0.${n}`, device_id: `device-${n}` })
    const messages = Array.from({ length: 200 }, (_, n) => ({ messageId: `m${n}`, body: body(n), sentAtMs: 0 }))
    t.equal(vault.tokenizeMessages(messages).length, 200)
    t.same(asked(), ['Decrypt', 'Decrypt'], 'by the start alone, one for each time that keys were made')

    kms.behave({ exception: 'DisabledException' })
    await t.rejects(open(), { code: 'kek_unavailable', message: /DisabledException/ }, 'nothing starts half-ready')
    const signing = openSigningVault(loadConfig('lambda', environment), { environment, applicationName: 'test' })
    await t.rejects(signing, { code: 'kek_unavailable' })
    t.equal(vault.tokenizeMessages(messages).length, 200, 'what runs has its keys')

    const followed = vault.follow(createTestLog().log)
    t.teardown(() => followed.stop())
    const owner = await connectTo(t, database.adminUrl)
    await owner.query("UPDATE pii_vault.keys SET status = 'disabled' WHERE version = 2")
    await until('the key is out of use', () => vault.keys.sealer('data', 'ip', 2) === undefined)
    t.equal(followed.problem(), undefined, 'a key is taken out of use without KMS')
    t.same(asked(), ['Decrypt', 'Decrypt'], 'which only the two starts that failed have asked')
    await owner.query(
      "INSERT INTO pii_vault.keys SELECT purpose, field, 3, 'active', kek_id, wrapped FROM pii_vault.keys WHERE purpose = 'data' AND field = 'ip' AND version = 1",
    )
    await until('the process says so', () => followed.problem() !== undefined)
    t.match(followed.problem(), { code: 'kek_unavailable' }, 'a key that is new to it waits for KMS')
    await owner.query('DELETE FROM pii_vault.keys WHERE version = 3')

    kms.behave('answer_of_another_key')
    await t.rejects(open(), { code: 'kek_mismatch' }, 'no key of another KEK is used, and none is made up')
    t.same(kms.faults, [])
  },
)
