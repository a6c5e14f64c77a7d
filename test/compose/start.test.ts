import t from 'tap'
import { composeApi } from '../../src/compose/api.ts'
import { composeWorker } from '../../src/compose/worker.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { createTestLog, startQueue } from '../helpers/queue/server.ts'

t.test(
  'a worker and an API whose role lacks something refuse to start and name it; a worker tells what may be lost',
  async t => {
    const vault = await createVaultDatabase(t)
    const admin = await vault.connect()
    const { queueUrl, server } = await startQueue(t)
    const environment = {
      DATABASE_URL: vault.urlFor('tokenvault_worker'),
      KEK_FILE: vault.kekFile,
      SQS_QUEUE_URL: queueUrl,
      AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
    }
    const api = {
      DATABASE_URL: vault.urlFor('tokenvault_api'),
      KEK_FILE: vault.kekFile,
      JWT_ISSUER: 'https://issuer.test',
      JWT_AUDIENCE: 'tokenvault',
      JWKS_URL: 'https://issuer.test/jwks',
    }
    const { log, logged } = createTestLog()
    const startWorker = () => composeWorker(loadConfig('worker', environment), { log, environment: {} })
    await admin.query(`
    REVOKE INSERT ON pii_vault.originals FROM tokenvault_worker;
    REVOKE EXECUTE ON FUNCTION pii_vault.append_audit(bytea[]) FROM tokenvault_api;
    REVOKE SELECT ON pii_vault.originals FROM tokenvault_api`)
    const message = /^missing, or not granted to the role: .*table pii_vault\.originals$/
    await t.rejects(startWorker(), { code: 'store_misconfigured', message })
    await t.rejects(composeApi(loadConfig('api', api), log, {}), { code: 'store_misconfigured', message })

    await admin.query('GRANT INSERT ON pii_vault.originals TO tokenvault_worker')
    await admin.query(`ALTER DATABASE ${vault.name} SET synchronous_commit = off`)
    const worker = await startWorker()
    await worker.close()
    const told = logged.map(line => JSON.parse(line)).filter(({ event }) => event === 'not_durable')
    t.match(told.at(-1), {
      level: 'warn',
      reason: /^synchronous_commit is off for the database: a crash of the server loses/,
    })
  },
)
