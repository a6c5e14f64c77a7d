import t, { type Test } from 'tap'
import { openKeyAdministrator } from '../../src/compose/key-administration.ts'
import { retokenizeField } from '../../src/compose/retokenize.ts'
import { openIngestVault, openSigningVault } from '../../src/compose/vault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { parseToken } from '../../src/crypto/token.ts'
import { createOriginalReader } from '../../src/store/originals.ts'
import { loginFields } from '../../src/vault/fields/fields.ts'
import type { KeyName } from '../../src/vault/keys/keyset.ts'
import { openTokens } from '../../src/vault/tokens/open-tokens.ts'
import { readToken } from '../../src/vault/tokens/read-token.ts'
import { until } from '../helpers/faults/plan.ts'
import { createVaultDatabase, type VaultDatabase } from '../helpers/postgres/vault-database.ts'
import { createTestLog } from '../helpers/queue/server.ts'

const levels = new Map([['ip', { level: 'full' }]] as const)
const tokenKey = (version: number): KeyName => ({ purpose: 'token', field: 'ip', version })
const addresses = (start: number, count: number) => Array.from({ length: count }, (_, n) => `10.0.${start}.${n}`)

async function openAdministrator(t: Test, vault: VaultDatabase) {
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile }
  const administrator = await openKeyAdministrator(loadConfig('migrate', environment), environment)
  t.teardown(() => administrator.close())
  return administrator
}

async function openProcesses(t: Test, vault: VaultDatabase) {
  const configOf = (role: 'tokenvault_worker' | 'tokenvault_api') =>
    loadConfig('lambda', { DATABASE_URL: vault.urlFor(role), KEK_FILE: vault.kekFile })
  const opening = { environment: {}, applicationName: 'test' }
  const worker = await openIngestVault(configOf('tokenvault_worker'), opening)
  t.teardown(() => worker.database.destroy())
  const api = await openSigningVault(configOf('tokenvault_api'), { ...opening, role: 'tokenvault_api' })
  t.teardown(() => api.database.destroy())
  const { log } = createTestLog()
  const followed = [worker.follow(log), api.follow(log)]
  t.teardown(() => followed.forEach(({ stop }) => void stop()))
  let messages = 0
  const ingest = async (ips: readonly string[]) => {
    const tokenized = worker.tokenizeMessages(
      ips.map(ip => ({
        messageId: `m${messages++}`,
        body: JSON.stringify({ user_id: 'u', ip, device_id: 'd' }),
        sentAtMs: Date.now(),
      })),
    )
    await worker.store.storeMessages(tokenized)
    return tokenized.flatMap(({ rows }) => rows.map(({ tokens }) => tokens[0]!.token))
  }
  const open = async (tokens: readonly string[]) => {
    const deps = { fields: loginFields, keys: api.keys, originals: createOriginalReader(api.database) }
    const answers = await openTokens(deps, levels, new Map(tokens.map(token => [token, readToken(token)])))
    return tokens.map(token => {
      const answer = answers.get(token)!
      return 'value' in answer ? answer.value : answer.code
    })
  }
  return { worker, api, ingest, open }
}

type Processes = Awaited<ReturnType<typeof openProcesses>>

async function rotate(administrator: Awaited<ReturnType<typeof openAdministrator>>, { worker, api }: Processes) {
  const name = await administrator.create(tokenKey(1))
  await until('both read it', () => [worker, api].every(({ keys }) => keys.tokenKey('ip', name.version) !== undefined))
  await administrator.promote(name)
  await until('the worker writes with it', () => worker.keys.primaryVersion('token', 'ip') === name.version)
  return name.version
}

/** Groups as an analyst counts them while both tokens of a value stand in the table. */
const groupsByKey = `
  SELECT count(*)::int AS logins, count(DISTINCT coalesce(alias.new_token, masked_ip))::int AS addresses
  FROM public.user_logins LEFT JOIN pii_vault.token_aliases AS alias ON alias.old_token = masked_ip AND alias.field = 'ip'`

t.test('a token key rotates and its tokens are replaced while values come and go; every token opens', async t => {
  const vault = await createVaultDatabase(t)
  const owner = await vault.connect()
  const administrator = await openAdministrator(t, vault)
  const processes = await openProcesses(t, vault)
  const { ingest, open, api, worker } = processes
  const before = await ingest(addresses(1, 60))
  // As retention leaves it of months that it dropped: who loses it has originals expire too early.
  await owner.query("UPDATE pii_vault.originals SET last_seen = '2025-11-01', kept_elsewhere = true WHERE field = 'ip'")
  t.equal(await rotate(administrator, processes), 2)
  await t.rejects(administrator.create(tokenKey(1)), { code: 'token_move_unfinished' })

  const again = await ingest(addresses(1, 20))
  t.ok(again.every(token => token.startsWith('ip_v2_')))
  const { rows: linked } = await owner.query(groupsByKey)
  t.same(linked, [{ logins: 80, addresses: 80 - 20 }], 'new rows have the join key of the earlier ones at once')
  t.same(await open([...before, ...again]), [...addresses(1, 60), ...addresses(1, 20)])

  const { keys } = await openAdministrator(t, vault)
  const deps = { database: administrator.database, keys, fields: loginFields }
  // Stopped after every batch: each start goes on where the last one ended.
  let starts = 0
  const handedOut = new Map(before.map((token, index) => [token, addresses(1, 60)[index]!]))
  for (let isWhole = false; !isWhole; starts++) {
    const stopping = new AbortController()
    const onProgress = () => {
      if (starts < 12) stopping.abort()
    }
    const done = await retokenizeField(deps, 'ip', { batch: 7, signal: stopping.signal, onProgress })
    isWhole = done.isWhole
    const fresh = addresses(2 + starts, 3)
    for (const [index, token] of (await ingest(fresh)).entries()) handedOut.set(token, fresh[index]!)
    t.same(await open([...handedOut.keys()]), [...handedOut.values()], 'every token that was handed out opens')
    const { rows } = await owner.query(groupsByKey)
    t.same(rows, [{ logins: 80 + 3 * (starts + 1), addresses: 60 + 3 * (starts + 1) }], 'the groups are the same')
    const found = await owner.query(
      "SELECT * FROM pii_vault.reconcile_tokens('{ip,device_id}', '{masked_ip,masked_device_id}')",
    )
    t.same(found.rows, [], 'reconciled at every point of the job')
  }
  t.ok(starts > 9)
  const { rows: left } = await owner.query(`
    SELECT (SELECT count(*)::int FROM public.user_logins WHERE starts_with(masked_ip, 'ip_v1_')) AS rows,
      (SELECT count(*)::int FROM pii_vault.originals WHERE field = 'ip' AND token_key_version = 1) AS originals,
      (SELECT count(*)::int FROM pii_vault.originals WHERE kept_elsewhere AND last_seen = '2025-11-01') AS seen,
      (SELECT state FROM pii_vault.token_moves) AS state`)
  t.same(left, [{ rows: 0, originals: 0, seen: 60, state: 'done' }])

  await t.resolves(administrator.scheduleDestruction(tokenKey(1), new Date(), 0), 'nothing needs the earlier key')
  t.same(await administrator.destroyDue(), { destroyed: [tokenKey(1)], inUse: [] })
  await until('it is gone', () => [worker, api].every(({ keys }) => keys.tokenKey('ip', 1) === undefined))
  t.same(await open(before), addresses(1, 60), 'tokens of a destroyed key open by their alias')
  t.same(await open(['ip_v1_Zk3qW0b9Jv2mX7tR4nYc8A']), ['key_unavailable'])

  t.equal(await rotate(administrator, processes), 3)
  const later = await openAdministrator(t, vault)
  const signal = new AbortController().signal
  const second = await retokenizeField({ ...deps, keys: later.keys }, 'ip', { batch: 50, signal, onProgress: () => {} })
  t.ok(second.isWhole)
  t.same(await open([...handedOut.keys()]), [...handedOut.values()], 'aliases of the first rotation are led on')
  await owner.query(
    'UPDATE pii_vault.token_aliases SET successor = (SELECT successor FROM pii_vault.token_aliases WHERE token_id = $2) WHERE token_id = $1',
    [parseToken(before[0]!)!.id, parseToken(before[1]!)!.id],
  )
  t.same(
    await open(before.slice(0, 2)),
    ['token_not_authentic', addresses(1, 2)[1]],
    'an alias that was edited is found',
  )
})
