import t from 'tap'
import { openKeyAdministrator } from '../../../src/compose/key-administration.ts'
import { retokenizeField } from '../../../src/compose/retokenize.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { createTokenMap } from '../../../src/store/token-map.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { until } from '../../helpers/faults/plan.ts'
import { startVaultApi } from '../../helpers/http/vault-api.ts'

const policy = `
version: 1
roles:
  migrator: { translate: [ip], purposes: [migration] }
  small: { translate: [ip], purposes: [migration], batch_limit: 2, budget: { per_minute: 3 } }
  auditor: { audit: true }
  careful: { reveal: { ip: partial }, purposes: [migration], budget: { per_minute: 1 } }
  reader: { reveal: { "*": full }, tokenize: [ip], purposes: ["*"] }
`
const migrator = { sub: 'mia', roles: ['migrator'] }
const path = '/v1/tokens/translate'

t.test('tokens of a rotated key are exchanged for present ones, while they are replaced and afterwards', async t => {
  const { call, vault, tokens, events } = await startVaultApi(t, { policy, originals: 10 })
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile }
  const administrator = await openKeyAdministrator(loadConfig('migrate', environment), environment)
  t.teardown(() => administrator.close())
  const admin = await vault.connect()
  const translate = async (asked: readonly unknown[], who = migrator) => {
    const { status, json } = await call(who, 'POST', path, { purpose: 'migration', tokens: asked })
    return { status, json, results: json['results'] as Record<string, unknown>[] }
  }
  const before = await translate(tokens)
  t.equal(before.status, 200)
  t.same(
    before.results,
    tokens.map(token => ({ token, field: 'ip', successor: token, current: true })),
    'a present token answers itself',
  )

  const open = (asked: readonly (string | undefined)[]) =>
    call({ sub: 'r', roles: ['reader'] }, 'POST', '/v1/detokenize', { purpose: 'migration', tokens: asked })
  await open(tokens.slice(0, 1))

  const name = await administrator.create({ purpose: 'token', field: 'ip' })
  const isReady = async () => {
    const { json } = await call({ sub: 'r', roles: ['reader'] }, 'POST', '/v1/tokenize', {
      purpose: 'migration',
      values: [{ field: 'ip', value: '10.0.0.0' }],
    })
    return json['results'][0].token.startsWith('ip_v2_')
  }
  await administrator.promote(name)
  await until('the API has the new key', isReady)
  const { json: found } = await call({ sub: 'r', roles: ['reader'] }, 'POST', '/v1/tokenize', {
    purpose: 'migration',
    values: [{ field: 'ip', value: '10.0.0.3' }],
  })
  t.match(
    found['results'][0],
    { token: /^ip_v2_/, others: [{ token: tokens[3], keyVersion: 1 }] },
    'a look-up answers both',
  )
  t.match(
    (await translate(tokens)).results[0],
    { successor: tokens[0], current: false },
    'one that is yet to be replaced',
  )

  await administrator.close()
  const later = await openKeyAdministrator(loadConfig('migrate', environment), environment)
  t.teardown(() => later.close())
  const deps = { database: later.database, keys: later.keys, fields: loginFields }
  const stopping = new AbortController()
  const stopped = { batch: 4, signal: stopping.signal, onProgress: () => stopping.abort() }
  t.match(await retokenizeField(deps, 'ip', stopped), { originals: 4, deleted: 0 })
  const { rows: pairs } = await admin.query('SELECT old_token, new_token FROM pii_vault.token_aliases')
  const chargedOnce = async (sub: string, index: number) => {
    const who = { sub, roles: ['careful'] }
    const asked = { purpose: 'migration', tokens: Object.values(pairs[index]!) }
    const previewed = await call(who, 'POST', '/v1/detokenize', { ...asked, dryRun: true })
    t.match(previewed.json, { preview: { answer: 'values', budget: { values: 1 } } })
    const { status, json } = await call(who, 'POST', '/v1/detokenize', asked)
    t.match([status, json['results'].map(({ partial }: { partial: true }) => partial)], [200, [true, true]])
    const next = { ...asked, tokens: [pairs[index + 1]!.new_token] }
    t.match(await call(who, 'POST', '/v1/detokenize', next), { json: { code: 'budget_exceeded' } })
  }
  await chargedOnce('during', 0)
  const done = await retokenizeField(deps, 'ip', {
    batch: 4,
    signal: new AbortController().signal,
    onProgress: () => {},
  })
  t.ok(done.isWhole)
  await chargedOnce('after', 2)
  const [first, ...rest] = tokens
  const unknown = `ip_v1_${'A'.repeat(21)}g`
  const mixed = await translate([first, unknown, 'x', 'device_id_v1_m3yTq9Zb1uWfJ0aXo7sPcQ', ...rest])
  const codes = ['token_unknown', 'token_malformed', 'field_not_permitted']
  t.same(
    mixed.results.slice(1, 4).map(({ error }) => (error as { code: string }).code),
    codes,
  )
  const successors = mixed.results.filter(({ successor }) => successor).map(({ successor }) => successor as string)
  t.equal(new Set(successors).size, 10)
  t.ok(successors.every(token => token.startsWith('ip_v2_')))
  const opened = await open(successors)
  t.same(
    opened.json['results'].map(({ value }: { value: string }) => value),
    tokens.map((_, n) => `10.0.0.${n}`),
    'in input order',
  )
  t.match((await translate(successors)).results[9], { successor: successors[9], current: true })

  const both = await translate([first, successors[0]], { sub: 'small', roles: ['small'] })
  t.equal(both.status, 200)
  t.match(await translate(tokens, { sub: 'small', roles: ['small'] }), {
    status: 400,
    json: { code: 'batch_over_role_limit' },
  })
  await translate(rest.slice(0, 2), { sub: 'small', roles: ['small'] })
  t.match(
    await translate(rest.slice(4, 6), { sub: 'small', roles: ['small'] }),
    { status: 429, json: { code: 'budget_exceeded' } },
    'both tokens of one value were charged once',
  )
  t.match(await translate(tokens, { sub: 'r', roles: ['reader'] }), {
    status: 403,
    json: { code: 'role_not_permitted' },
  })

  const search = async (token: string | undefined) => {
    const where = { token, type: 'detokenize', subject: 'r' }
    const { json } = await call({ sub: 'a', roles: ['auditor'] }, 'POST', '/v1/audit/search', {
      purpose: 'audit',
      where,
    })
    return json['events'].length
  }
  t.same(
    [await search(first), await search(successors[0])],
    [2, 2],
    'a search finds events of the old token and the new',
  )

  const event = (await events()).find(({ type, requested }) => type === 'translate' && requested === 13)
  t.match(event, { granted: 10, withheld: { token_unknown: 1, token_malformed: 1, field_not_permitted: 1 } })
  t.notMatch(JSON.stringify(event), /ip_v\d_/, 'by digests alone')

  await admin.query(
    `UPDATE pii_vault.token_aliases SET successor = (SELECT successor FROM pii_vault.token_aliases
    WHERE old_token = $2) WHERE old_token = $1`,
    [tokens[0], tokens[1]],
  )
  t.match(
    (await translate([first])).results[0],
    { error: { code: 'token_not_authentic' } },
    'an alias edited by hand is found',
  )

  const map = createTokenMap(later.database)
  t.ok(await map.retire('ip', 1))
  const retired = async (asked: unknown[], path: string, more = {}) => {
    const { json } = await call({ sub: 'x', roles: ['reader', 'migrator'] }, 'POST', path, {
      purpose: 'migration',
      tokens: asked,
      ...more,
    })
    return (
      (json['preview']?.withheld as unknown) ??
      json['results'].map(({ error }: { error?: { code: string } }) => error?.code)
    )
  }
  for (const state of ['while its aliases go', 'once they are gone']) {
    const asked = [tokens[2], unknown, successors[2]]
    const codes = ['token_retired', 'token_retired', undefined]
    t.same(await retired(asked, '/v1/detokenize'), codes, state)
    t.same(await retired(asked, path), codes, state)
    t.match(await retired(asked, '/v1/detokenize', { dryRun: true }), [{ code: 'token_retired', items: 2 }], state)
    await map.deletePairs({ field: 'ip', version: 1 }, { after: undefined, limit: 100 })
  }
})
