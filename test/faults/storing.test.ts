import t from 'tap'
import { startApi, verifyAudit } from '../helpers/faults/api.ts'
import { inTier, makePlan, seed } from '../helpers/faults/plan.ts'
import { type CommitFate, startPostgresProxy } from '../helpers/faults/postgres-proxy.ts'
import { scenario } from '../helpers/faults/world.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'

const { cuts, kills } = inTier({ short: { cuts: 8, kills: 1 }, long: { cuts: 300, kills: 40 } })
const fates = ['cut-before', 'cut-during', 'cut-after'] as const

t.test(
  `${cuts} connections cut around the COMMIT of originals, ${kills} of them with kill -9 of the API, FAULT_SEED=${seed}`,
  scenario,
  async t => {
    const plan = makePlan()
    const database = await createVaultDatabase(t)
    const admin = await database.connect()
    let next: { readonly fate: CommitFate; readonly kills: boolean } = { fate: 'pass', kills: false }
    const made = new Map<string, number>()
    let killed = 0
    const proxy = await startPostgresProxy(
      t,
      Number(new URL(database.adminUrl).port),
      () => next.fate,
      async () => {
        // The event is committed, and its originals are not, or nobody knows.
        if (!next.kills) return
        killed++
        await api.kill()
      },
    )
    const url = new URL(database.urlFor('tokenvault_store'))
    url.port = String(proxy.port)
    const start = (published?: string) => startApi(t, database, { STORE_DATABASE_URL: url.href }, published)
    let api = await start()
    const tokenOf = new Map<string, string>()
    const counted = async () => Number((await admin.query('SELECT count(*) FROM pii_vault.originals')).rows[0].count)

    for (let call = 0; call < cuts; call++) {
      const values = Array.from({ length: 5 }, (_, n) => `canary-${call}-${n}`)
      const fate = plan.pick(fates)
      next = { fate, kills: call % Math.ceil(cuts / kills) === 0 }
      made.set(fate, (made.get(fate) ?? 0) + 1)
      const told = await api.store(values)
      t.equal(told, undefined, `${fate}: the caller is told nothing`)
      const isKilled = next.kills
      next = { fate: 'pass', kills: false }
      if (isKilled) {
        await api.kill()
        api = await start(api.published)
      }
      const tokens = await api.store(values)
      t.equal(tokens?.length, 5, 'the same call heals it')
      for (const [place, token] of (tokens ?? []).entries()) tokenOf.set(values[place]!, token)
      t.equal(await counted(), tokenOf.size, 'one row each')
    }
    t.equal(new Set(tokenOf.values()).size, cuts * 5)
    t.equal(killed, kills)
    t.ok(await api.detokenize(tokenOf.get('canary-0-0')!), 'revealing went on')
    t.pass(`${JSON.stringify([...made])}, ${JSON.stringify([...api.calls.refused])}`)
    t.notOk([...api.calls.refused.keys()].some(code => code !== 'store_unavailable' && code !== 'unreachable'))

    const { rows } = await admin.query(`SELECT
      count(*) FILTER (WHERE e ->> 'mode' = 'store' AND e ->> 'decision' = 'permitted') AS stored
      FROM (SELECT convert_from(event, 'UTF8')::jsonb AS e FROM pii_vault.audit_log) AS events`)
    t.equal(Number(rows[0].stored), 2 * cuts, 'each call is an event, also the one that nobody was told of')
    const output = api.output()
    t.equal((await api.end()).code, 0)
    t.equal((await verifyAudit(t, database, api.published)).code, 0)
    t.notMatch(output, /canary/)
    const dump = await admin.query('SELECT o::text FROM pii_vault.originals AS o')
    t.notMatch(JSON.stringify(dump.rows), /canary/)
  },
)
