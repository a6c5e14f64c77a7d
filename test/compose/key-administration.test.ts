import { randomBytes, randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openKeyAdministrator } from '../../src/compose/key-administration.ts'
import { resealField } from '../../src/compose/reseal.ts'
import { openIngestVault, openSigningVault, type Vault } from '../../src/compose/vault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { parseToken } from '../../src/crypto/token.ts'
import { createOriginalReader } from '../../src/store/originals.ts'
import { createResealStore } from '../../src/store/reseal.ts'
import { createQuarantineResealStore } from '../../src/store/reseal-quarantine.ts'
import { loginFields } from '../../src/vault/fields/fields.ts'
import type { KeyName } from '../../src/vault/keys/keyset.ts'
import { createOpenQuarantined } from '../../src/vault/quarantine/sealed-bodies.ts'
import { openTokens } from '../../src/vault/tokens/open-tokens.ts'
import { readToken } from '../../src/vault/tokens/read-token.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { until } from '../helpers/faults/plan.ts'
import { createVaultDatabase, type VaultDatabase } from '../helpers/postgres/vault-database.ts'
import { createTestLog } from '../helpers/queue/server.ts'

const dataKey = (version: number): KeyName => ({ purpose: 'data', field: 'ip', version })
const levels = new Map([['ip', { level: 'full' }]] as const)

async function openAdministrator(t: Test, vault: VaultDatabase, more: Record<string, string> = {}) {
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile, ...more }
  const administrator = await openKeyAdministrator(loadConfig('migrate', environment), environment)
  t.teardown(() => administrator.close())
  return administrator
}

/** A worker's and an API's part of a vault, both of which follow the stored keys. */
async function openProcesses(t: Test, vault: VaultDatabase, kek: Record<string, string> = { KEK_FILE: vault.kekFile }) {
  const configOf = (role: 'tokenvault_worker' | 'tokenvault_api') =>
    loadConfig('lambda', { DATABASE_URL: vault.urlFor(role), ...kek })
  const opening = { environment: {}, applicationName: 'test' }
  const worker = await openIngestVault(configOf('tokenvault_worker'), opening)
  t.teardown(() => worker.database.destroy())
  const api = await openSigningVault(configOf('tokenvault_api'), { ...opening, role: 'tokenvault_api' })
  t.teardown(() => api.database.destroy())
  const { log, logged } = createTestLog()
  const followed = [worker.follow(log), api.follow(log)]
  t.teardown(() => followed.forEach(({ stop }) => void stop()))
  let messages = 0
  const ingest = async (ips: readonly string[]) => {
    const sent = ips.map(ip => ({ messageId: `m${messages++}`, body: body(ip), sentAtMs: Date.now() }))
    const tokenized = worker.tokenizeMessages(sent)
    await worker.store.storeMessages(tokenized)
    return tokenized.flatMap(({ rows }) => rows.map(({ tokens }) => tokens[0]!.token))
  }
  const open = async (tokens: readonly string[]) => {
    const deps = { fields: loginFields, keys: api.keys, originals: createOriginalReader(api.database) }
    const answers = await openTokens(deps, levels, new Map(tokens.map(token => [token, readToken(token)])))
    return tokens.map(token => answers.get(token)!)
  }
  return { worker, api, ingest, open, logged, followed }
}

const body = (ip: string) => JSON.stringify({ user_id: 'u', ip, device_id: 'd' })
const addresses = (start: number, count: number) => Array.from({ length: count }, (_, n) => `10.0.${start}.${n}`)

const writesWith = ({ keys }: Pick<Vault, 'keys'>) => keys.primaryVersion('data', 'ip')

t.test('a data key rotates while values come and go, is emptied by re-sealing, and is destroyed', async t => {
  const vault = await createVaultDatabase(t)
  const owner = await vault.connect()
  const administrator = await openAdministrator(t, vault)
  const { worker, api, ingest, open } = await openProcesses(t, vault)
  const before = await ingest(addresses(1, 50))

  t.same(await administrator.create(dataKey(1)), dataKey(2))
  t.same(await administrator.create(dataKey(1)), dataKey(2), 'begun twice, there is one new key')
  await until('both read it', () => [worker, api].every(({ keys }) => keys.sealer('data', 'ip', 2) !== undefined))
  t.equal(writesWith(worker), 1, 'all learn to read it before any writes with it')
  await administrator.promote(dataKey(2))
  await until('both write with it', () => [worker, api].every(process => writesWith(process) === 2))

  const after = await ingest(addresses(2, 50))
  t.same(await ingest(addresses(1, 50)), before, 'no token changes, so every join survives')
  const values = (tokens: readonly string[]) =>
    open(tokens).then(answers => answers.map(answer => 'value' in answer && answer.value))
  t.same(await values([...before, ...after]), [...addresses(1, 50), ...addresses(2, 50)])
  t.equal(await administrator.countContent(dataKey(1)), 50)

  const inUse = { code: 'key_in_use', message: /^50 originals open only with data\/ip\/v1$/ }
  await t.rejects(administrator.scheduleDestruction(dataKey(1), new Date(), 0), inUse)
  await t.rejects(administrator.scheduleDestruction(dataKey(1), new Date(), 49), { code: 'key_in_use' })
  await t.rejects(administrator.scheduleDestruction(dataKey(2), new Date(), 50), { code: 'key_state_invalid' })

  await administrator.disable(dataKey(1))
  await until('it is out of use', () => api.keys.sealer('data', 'ip', 1) === undefined)
  t.same(
    (await open(before)).map(answer => 'code' in answer && answer.code),
    Array(50).fill('key_unavailable'),
  )
  await administrator.enable(dataKey(1))
  await until('it is in use', () => api.keys.sealer('data', 'ip', 1) !== undefined)
  t.same(await values(before), addresses(1, 50))

  await owner.query("UPDATE pii_vault.originals SET sealed = sealed || '\\x00' WHERE token_id = $1", [
    parseToken(before[0]!)!.id,
  ])
  const store = createResealStore(administrator.database)
  const { keys } = await openAdministrator(t, vault)
  const options = { batch: 7, signal: new AbortController().signal, onProgress: () => {} }
  const stopped = await resealField({ keys, store }, 'ip', { ...options, signal: AbortSignal.abort() })
  t.same(stopped, { resealed: 0, notAuthentic: 0, keyMissing: 0 })
  const [one, two] = await Promise.all([
    resealField({ keys, store }, 'ip', options),
    resealField({ keys, store }, 'ip', options),
  ])
  t.equal(one.resealed + two.resealed, 49, 'two that run at once re-seal each original once')
  t.ok(one.notAuthentic === 1 || two.notAuthentic === 1, 'one that was changed is told and left')
  t.same(await values([...before.slice(1), ...after]), [...addresses(1, 50).slice(1), ...addresses(2, 50)])

  await administrator.scheduleDestruction(dataKey(1), new Date(), 1)
  t.same(await administrator.destroyDue(), {
    destroyed: [dataKey(1)],
    inUse: [],
  })
  t.same(await administrator.destroyDue(), { destroyed: [], inUse: [] })
  const { rows } = await owner.query(
    "SELECT version, status, wrapped FROM pii_vault.keys WHERE purpose = 'data' AND field = 'ip' ORDER BY version",
  )
  t.match(rows, [
    { version: 1, status: 'destroyed', wrapped: null },
    { version: 2, status: 'primary' },
  ])
  t.same(await administrator.create(dataKey(1)), dataKey(3), 'its version is never used again')
  t.same(await values(after), addresses(2, 50))

  const logged = await owner.query(
    "SELECT convert_from(event, 'UTF8')::json AS event FROM pii_vault.audit_log ORDER BY sequence",
  )
  const events = logged.rows.map(({ event }) => event)
  t.same(
    events.map(({ type, keys, subject }) => [type, keys, subject]),
    [
      ['key_create', ['data/ip/v2']],
      ['key_promote', ['data/ip/v2']],
      ['key_disable', ['data/ip/v1']],
      ['key_enable', ['data/ip/v1']],
      ['key_schedule_destruction', ['data/ip/v1']],
      ['key_destroy', ['data/ip/v1']],
      ['key_create', ['data/ip/v3']],
    ].map(event => [...event, new URL(vault.adminUrl).username]),
  )
})

t.test('quarantined bodies are re-sealed while workers add to them, and the earlier key can go', async t => {
  const vault = await createVaultDatabase(t)
  const administrator = await openAdministrator(t, vault)
  const { worker, api } = await openProcesses(t, vault)
  const quarantineKey = (version: number): KeyName => ({ purpose: 'quarantine', field: '', version })
  const quarantine = (texts: readonly string[]) =>
    worker.store.storeMessages(
      worker.tokenizeMessages(texts.map(body => ({ messageId: randomUUID(), body, sentAtMs: Date.now() }))),
    )
  const texts = Array.from({ length: 30 }, (_, n) => `not an event ${n}`)
  await quarantine(texts.slice(0, 20))
  await administrator.create(quarantineKey(1))
  await until('both read it', () => [worker, api].every(({ keys }) => keys.sealer('quarantine', '', 2) !== undefined))
  await administrator.promote(quarantineKey(2))
  await until('the worker writes with it', () => worker.keys.primaryVersion('quarantine', '') === 2)
  await quarantine(texts.slice(20))
  const inUse = { code: 'key_in_use', message: /^20 quarantined bodies open only with quarantine\/\/v1$/ }
  await t.rejects(administrator.scheduleDestruction(quarantineKey(1), new Date(), 0), inUse)

  const owner = await vault.connect()
  await owner.query(
    "UPDATE pii_vault.quarantine SET sealed = NULL, state = 'discarded' WHERE id = (SELECT min(id::text)::uuid FROM pii_vault.quarantine)",
  )
  const store = createQuarantineResealStore(administrator.database)
  const { keys } = await openAdministrator(t, vault)
  const stopping = new AbortController()
  const options = {
    purpose: 'quarantine',
    batch: 7,
    signal: stopping.signal,
    onProgress: () => stopping.abort(),
  } as const
  t.match(await resealField({ keys, store }, '', options), { resealed: 7 }, 'stopped after a batch')
  const going = { ...options, signal: new AbortController().signal }
  const [one, two] = await Promise.all([
    resealField({ keys, store }, '', going),
    resealField({ keys, store }, '', going),
  ])
  t.equal(await store.countOthers('', 2), 0, `${one.resealed} and ${two.resealed}: two at once re-seal each body once`)
  await administrator.scheduleDestruction(quarantineKey(1), new Date(), 0)
  t.same(await administrator.destroyDue(), { destroyed: [quarantineKey(1)], inUse: [] })
  const { rows } = await owner.query<{ id: string; dataKeyVersion: number; sealed: Buffer }>(
    `SELECT replace(id::text, '-', '') AS id, data_key_version AS "dataKeyVersion", sealed FROM pii_vault.quarantine
      WHERE sealed IS NOT NULL`,
  )
  const opened = createOpenQuarantined(api.keys)(rows)
  t.equal(new Set(opened).size, 29)
  t.ok(opened.every(text => texts.includes(text!)))
})

t.test('of two administrators who change the keys at once, the later is refused and changes nothing', async t => {
  const vault = await createVaultDatabase(t)
  const [one, two] = [await openAdministrator(t, vault), await openAdministrator(t, vault)]
  await one.create(dataKey(1))
  const both = await Promise.allSettled([one.promote(dataKey(2)), two.promote(dataKey(2))])
  const refused = both.filter(result => result.status === 'rejected')
  t.equal(refused.length, 1)
  t.match(refused[0]!.reason, { code: /^keys_changed$|^key_state_invalid$/ })
  const log = await vault
    .database()
    .selectFrom('pii_vault.keys')
    .select('status')
    .where('purpose', '=', 'data')
    .where('field', '=', 'ip')
    .orderBy('version')
    .execute()
  t.same(
    log.map(({ status }) => status),
    ['active', 'primary'],
  )
})

t.test(
  'all keys move to another KEK at once; either opens them meanwhile, and the old one nothing afterwards',
  async t => {
    const vault = await createVaultDatabase(t)
    const next = join(temporaryDirectory(t), 'kek')
    writeFileSync(next, randomBytes(32), { mode: 0o600 })
    const takingOver = { NEXT_KEK_PROVIDER: 'local', NEXT_KEK_FILE: next }
    const alone = await openProcesses(t, vault)
    const both = await openProcesses(t, vault, { KEK_FILE: vault.kekFile, ...takingOver })
    const tokens = await both.ingest(addresses(1, 3))

    const without = await openAdministrator(t, vault)
    await t.rejects(without.rewrap(), { code: 'usage', message: /NEXT_KEK_PROVIDER is not set/ })
    const administrator = await openAdministrator(t, vault, takingOver)
    t.match(await administrator.rewrap(), { count: 7, kekId: /^local:[0-9a-f]{16}$/ })
    await t.rejects(administrator.create(dataKey(1)), {
      code: 'kek_mismatch',
      message: /set it to the one that took over/,
    })

    await until('both say so', () => alone.followed.every(({ problem }) => problem() !== undefined))
    t.match(alone.followed[0]!.problem(), { code: 'kek_mismatch' }, 'a process that lacks the new KEK says so')
    t.match((await alone.open(tokens))[0], { value: '10.0.1.0' }, 'and goes on with the keys it has')
    await both.ingest(addresses(2, 1))
    await t.rejects(openProcesses(t, vault), { code: 'kek_mismatch' }, 'with the old one alone nothing starts')
    for (const kek of [{ KEK_FILE: next }, { KEK_FILE: vault.kekFile, ...takingOver }]) {
      const { open } = await openProcesses(t, vault, kek)
      t.match(await open(tokens), [{ value: '10.0.1.0' }, { value: '10.0.1.1' }, { value: '10.0.1.2' }])
    }
    const told = alone.logged.map(line => JSON.parse(line)).filter(({ event }) => event === 'keys_not_followed')
    t.equal(told.length, 2, 'once for each process')
  },
)
