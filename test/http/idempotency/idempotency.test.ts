import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { TokenvaultError } from '../../../src/errors.ts'
import type { AppOptions } from '../../../src/http/app.ts'
import { renderOpenApi } from '../../../src/http/openapi/render.ts'
import { createIdempotencyStore } from '../../../src/store/idempotency.ts'
import type { IdempotencyStore } from '../../../src/vault/admission/ports.ts'
import { noQuarantine, post, sendRaw, startApp } from '../../helpers/http/http-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

const id = 'a'.repeat(32)
const discard = `/v1/quarantine/${id}/discard`

const vault = await createVaultDatabase(t)
const admin = await vault.connect()
const store = createIdempotencyStore(vault.database('tokenvault_api', 2))

async function build(t: Test, verbs: Partial<AppOptions['verbs']['quarantine']>, change?: Partial<IdempotencyStore>) {
  await admin.query('DELETE FROM pii_vault.idempotency')
  /** Every key as it is stored, in the order of the claims. */
  const keys = async () =>
    (await admin.query('SELECT key FROM pii_vault.idempotency ORDER BY created_at')).rows.map(({ key }) => key)
  const done: string[] = []
  const quarantine = {
    ...noQuarantine,
    discard: async (_principal: unknown, request: { id: string }) => void done.push(request.id),
    redriveAll: async (_principal: unknown, request: object) => {
      return { requested: done.push(JSON.stringify(request)) }
    },
    ...verbs,
  }
  const app = await startApp(t, {
    verbs: { quarantine },
    idempotency: { store: { ...store, ...change }, isAdmissible: async () => true },
  })
  const send = async (
    path: string,
    key: string,
    { body, sub = 'casey', claims }: { body?: object; sub?: string; claims?: object } = {},
  ) => {
    const jwt = await signJwt(app.key, { sub, roles: ['operator'], ...claims })
    const headers: Record<string, string> = { 'idempotency-key': key, authorization: `Bearer ${jwt}` }
    const reply =
      body === undefined
        ? await fetch(`${app.origin}${path}`, { method: 'POST', headers })
        : await post(app, path, body, { jwt, headers })
    return {
      status: reply.status,
      replayed: reply.headers.get('idempotency-replayed'),
      retryAfter: reply.headers.get('retry-after'),
      type: reply.headers.get('content-type'),
      json: await reply.json(),
    }
  }
  return { app, send, done, keys }
}

t.test('a repeat is answered as the first time, and nothing is done again', async t => {
  const { send, done } = await build(t, {})
  const first = await send(discard, 'key-1')
  t.strictSame(first, {
    status: 200,
    replayed: null,
    retryAfter: null,
    type: 'application/json; charset=utf-8',
    json: { id, state: 'discarded' },
  })
  t.strictSame(await send(discard, 'key-1'), { ...first, replayed: 'true' })
  const claims = { jti: 'another', azp: 'desk', act: { sub: 'desk-backend' } }
  t.strictSame(await send(discard, 'key-1', { claims }), { ...first, replayed: 'true' }, 'with another JWT')
  t.strictSame(done, [id])
  t.match(await send(discard, 'key-2'), { replayed: null })
  t.strictSame(done, [id, id], 'another key is another request')
})

t.test('the order of properties makes no other request; anything else does', async t => {
  const { send, done } = await build(t, {})
  const before = 'b'.repeat(32)
  await send('/v1/quarantine/redrive', 'k', { body: { reason: 'ip_invalid', before } })
  t.match(await send('/v1/quarantine/redrive', 'k', { body: { before, reason: 'ip_invalid' } }), { replayed: 'true' })
  const others = [
    ['/v1/quarantine/redrive', { before }],
    ['/v1/quarantine/redrive', {}],
    [discard, undefined],
    [`/v1/quarantine/${before}/redrive`, undefined],
  ] as const
  for (const [path, body] of others) {
    const reply = await send(path, 'k', body && { body })
    t.match(reply, { status: 422, replayed: null, json: { code: 'idempotency_key_reused' } }, path)
  }
  t.equal(done.length, 1)
})

t.test('a key belongs to one principal, and never gets into the store as it is', async t => {
  const { send, done, keys } = await build(t, {})
  await send(discard, '203.0.113.7', { sub: 'casey' })
  t.match(await send(discard, '203.0.113.7', { sub: 'robin' }), { status: 200, replayed: null })
  t.equal(done.length, 2)
  const hashed = createHash('sha256').update('203.0.113.7').digest('base64url')
  t.strictSame(await keys(), [hashed, hashed])
})

t.test('while the first is worked on, a repeat is told to wait', async t => {
  const entered = Promise.withResolvers<void>()
  const proceed = Promise.withResolvers<void>()
  let calls = 0
  const { send } = await build(t, {
    discard: async () => {
      calls += 1
      entered.resolve()
      await proceed.promise
    },
  })
  const first = send(discard, 'k')
  await entered.promise
  const second = await send(discard, 'k')
  t.match(second, { status: 409, retryAfter: '5', json: { code: 'idempotency_in_progress' } })
  proceed.resolve()
  t.match(await first, { status: 200, replayed: null })
  t.match(await send(discard, 'k'), { status: 200, replayed: 'true' })
  t.equal(calls, 1)
})

t.test('what was refused changed nothing, so the key is free again', async t => {
  const refusals = ['role_not_permitted', 'quarantine_unknown', 'quarantine_settled', 'principal_suspended'] as const
  const left: string[] = [...refusals]
  const { send, keys } = await build(t, {
    discard: async () => {
      const code = left.shift()
      if (code !== undefined) throw new TokenvaultError(code as 'internal')
    },
  })
  for (const code of refusals) {
    t.match(await send(discard, 'k'), { replayed: null, json: { code } })
    t.strictSame(await keys(), [], code)
  }
  t.match(await send(discard, 'k'), { status: 200, replayed: null })
  t.match(await send(discard, 'k'), { status: 200, replayed: 'true' })
})

t.test('what failed may have taken effect, so nothing is done again until the claim runs out', async t => {
  for (const code of ['audit_unavailable', 'store_unavailable', 'internal'] as const) {
    let calls = 0
    const { send, keys } = await build(t, {
      discard: async () => {
        calls += 1
        // As after a COMMIT whose reply was lost.
        if (calls === 1) throw code === 'internal' ? new RangeError('unexpected') : new TokenvaultError(code)
      },
    })
    t.match(await send(discard, 'k'), { replayed: null, json: { code } })
    t.equal((await keys()).length, 1, `${code}: the claim is kept`)
    const repeated = await send(discard, 'k')
    t.match(repeated, { status: 409, retryAfter: '5', json: { code: 'idempotency_in_progress' } }, code)
    t.equal(calls, 1, code)
    await admin.query(`UPDATE pii_vault.idempotency SET created_at = created_at - interval '5 minutes'`)
    t.match(await send(discard, 'k'), { status: 200, replayed: null }, `${code}: then it is taken over`)
    t.match(await send(discard, 'k'), { status: 200, replayed: 'true' }, code)
  }
})

t.test('a key that is none is refused before anything is done', async t => {
  const { app, done, keys, send } = await build(t, {})
  const authorization = `Bearer ${await signJwt(app.key, { roles: ['operator'] })}`
  const refused = async (headers: readonly string[], title: string) => {
    const reply = await sendRaw(app.port, 'POST', discard, ['authorization', authorization, ...headers])
    t.match(
      { status: reply.status, ...JSON.parse(reply.text) },
      { status: 400, code: 'idempotency_key_invalid' },
      title,
    )
  }
  await refused(['Idempotency-Key', 'one', 'Idempotency-Key', 'two'], 'two headers')
  await refused(['IDEMPOTENCY-KEY', 'one', 'IDEMPOTENCY-KEY', 'one'], 'the same twice')
  await refused(['idempotency-key', ''], 'empty')
  await refused(['idempotency-key', 'a'.repeat(256)], 'too long')
  await refused(['idempotency-key', 'caf\u00e9'], 'not ASCII')
  await refused(['idempotency-key', 'a\tb'], 'a tab')
  t.strictSame([done, await keys()], [[], []])
  t.match(await send(discard, 'a'.repeat(255)), { status: 200 })
  t.match(await send(discard, '"8e03978e-40d5-43e8-bc93-6894a57f9324"'), { status: 200 }, 'as the draft writes it')
})

t.test('who is not authenticated learns nothing of keys', async t => {
  const { app, keys } = await build(t, {})
  const reply = await sendRaw(app.port, 'POST', discard, ['idempotency-key', 'one', 'idempotency-key', 'two'])
  t.equal(reply.status, 401)
  t.strictSame(await keys(), [])
})

t.test('a store that fails before the act stops it; one that fails after it does not hide it', async t => {
  const unavailable = async () => {
    throw new TokenvaultError('store_unavailable')
  }
  const before = await build(t, {}, { claim: unavailable })
  t.match(await before.send(discard, 'k'), { status: 503, json: { code: 'store_unavailable' } })
  t.strictSame(before.done, [])
  const after = await build(t, {}, { complete: unavailable })
  t.match(await after.send(discard, 'k'), { status: 200, json: { state: 'discarded' } })
  t.match(after.app.logged(), /"event":"idempotency_not_kept"/)
  t.match(await after.send(discard, 'k'), { status: 409 })
  t.equal(after.done.length, 1)
})

t.test('every operation that changes something takes a key, and says what it may answer to it', async t => {
  const { paths } = JSON.parse(await renderOpenApi('1.0.0'))
  const changesNothing = ['/v1/crosswalk', '/v1/audit/search', '/v1/tokens/translate', '/v1/people/show']
  const answersValues = ['/v1/detokenize', '/v1/tokenize', '/v1/quarantine/{id}/open', '/v1/honey', '/v1/people/export']
  // An erasure is done once by its nature: a repeat is told that it was, and its certificate can be had again.
  const takesNone = [...answersValues, '/v1/people/{userId}/erasure', ...changesNothing]
  for (const [path, { post: operation }] of Object.entries<Record<string, never>>(paths)) {
    if (operation === undefined) continue
    const { parameters = [], responses } = operation as { parameters?: { name: string }[]; responses: object }
    const takesKey = parameters.some(({ name }) => name === 'Idempotency-Key')
    t.equal(takesKey, !takesNone.includes(path), path)
    if (takesKey) {
      const text = JSON.stringify(responses)
      for (const code of ['idempotency_key_invalid', 'idempotency_key_reused', 'idempotency_in_progress'])
        t.ok(text.includes(`examples/${code}`), `${path} ${code}`)
      t.match(responses, {
        200: { headers: { 'Idempotency-Replayed': Object } },
        409: { headers: { 'Retry-After': Object } },
      })
    }
  }
})
