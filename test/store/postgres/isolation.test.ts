import t from 'tap'
import { createActionLog } from '../../../src/store/action-log.ts'
import { createAuditSearch } from '../../../src/store/audit-search.ts'
import { createIdempotencyStore } from '../../../src/store/idempotency.ts'
import { createIngestStore } from '../../../src/store/ingest.ts'
import { createQuarantineStore } from '../../../src/store/quarantine.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'
import { loginBodies } from '../../helpers/queue/events.ts'
import { loginRow, messageOf } from '../../helpers/queue/tokenized-messages.ts'
import { running } from '../../helpers/queue/worker.ts'
import { makeAction } from '../../helpers/vault/actions.ts'
import { buildRedriver, quarantine } from '../../helpers/vault/quarantine.ts'

for (const isolation of ['serializable', 'repeatable read']) {
  t.test(`where sessions begin ${isolation}, calls at the same time are all answered`, async t => {
    const vault = await createVaultDatabase(t)
    const admin = await vault.connect()
    await admin.query(`ALTER DATABASE ${vault.name} SET default_transaction_isolation = '${isolation}'`)
    const at = (count: number) => Array.from({ length: count }, (_, index) => index)
    const api = vault.database('tokenvault_api', 8)
    const log = createActionLog(api)
    const searches = at(4).map(() => createAuditSearch(vault.database('tokenvault_api', 2)))
    const digest = 'token'.padEnd(22, '_')
    for (let round = 0; round < 10; round++) {
      await Promise.all([
        log.commit(makeAction('r', {}, { tokens: [digest] })),
        ...searches.map(search => search.findCandidates({ digests: [digest] }, { limit: 5 })),
      ])
    }
    t.equal((await searches[0]!.findCandidates({ digests: [digest] }, { limit: 100 })).events.length, 10)

    const ids = await quarantine(vault, loginBodies(200))
    const entries = createQuarantineStore(api)
    await Promise.all(at(4).map(() => entries.requestRedrive(ids)))
    const redrives = await Promise.all(at(3).map(() => buildRedriver(vault).drain(running())))
    t.equal(
      redrives.reduce((sum, { rows }) => sum + rows, 0),
      200,
    )

    const stores = at(4).map(() => createIngestStore(vault.database('tokenvault_worker', 2), loginFields))
    const rows = at(50).map(n => loginRow(vault.tokenizer, n))
    for (let round = 0; round < 5; round++) {
      await Promise.all(
        stores.map(store => store.storeMessages(rows.map((row, index) => messageOf(`${round}/${index}`, row)))),
      )
    }
    const { rows: stored } = await admin.query(
      'SELECT count(*)::int AS count FROM ingest.receipts WHERE message_id LIKE $1',
      ['%/%'],
    )
    t.equal(stored[0].count, 250, 'each message took effect once')

    const idempotency = createIdempotencyStore(api)
    const principal = { issuer: 'i', subject: 's', roles: [], channel: 'http' } as const
    for (const key of at(10)) {
      const claims = await Promise.all(at(4).map(() => idempotency.claim(principal, `k-${key}`, digest)))
      t.equal(claims.filter(({ state }) => state === 'claimed').length, 1)
    }
  })
}
