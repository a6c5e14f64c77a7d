import t, { type Test } from 'tap'
import { createIdempotencyStore } from '../../src/store/idempotency.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { principalNamed } from '../helpers/vault/actions.ts'

const casey = principalNamed('casey')
const fingerprint = 'F'.repeat(22)
const reply = { status: 200, body: '{"redriven":1}' }

async function startStore(t: Test) {
  const vault = await createVaultDatabase(t)
  const owner = await vault.connect()
  const store = createIdempotencyStore(vault.database('tokenvault_api', 8))
  const passMinutes = (minutes: number) =>
    owner.query(`UPDATE pii_vault.idempotency SET created_at = created_at - interval '${minutes} minutes'`)
  const count = async () => (await owner.query('SELECT count(*)::int FROM pii_vault.idempotency')).rows[0].count
  return { store, passMinutes, count }
}

t.test('a key is claimed once, and its reply is given again to the same request', async t => {
  const { store } = await startStore(t)
  t.strictSame(await store.claim(casey, 'k', fingerprint), { state: 'claimed' })
  t.strictSame(await store.claim(casey, 'k', fingerprint), { state: 'in_progress' })
  t.strictSame(await store.claim(casey, 'k', 'E'.repeat(22)), { state: 'other_request' })
  await store.complete(casey, 'k', reply)
  t.strictSame(await store.claim(casey, 'k', fingerprint), { state: 'done', ...reply })
  t.strictSame(await store.claim(casey, 'k', 'E'.repeat(22)), { state: 'other_request' })
  await store.complete(casey, 'k', { status: 500, body: 'another' })
  await store.release(casey, 'k')
  t.strictSame(await store.claim(casey, 'k', fingerprint), { state: 'done', ...reply }, 'a reply is final')
})

t.test('keys of different principals never meet', async t => {
  const { store } = await startStore(t)
  const principals = [casey, principalNamed('other'), principalNamed('casey', 'https://other.test')]
  // Pairs whose issuer and subject run together to the same text.
  principals.push(principalNamed('bc', 'a'), principalNamed('c', 'ab'), principalNamed('1:bc', '1:a'))
  for (const principal of principals) {
    t.strictSame(await store.claim(principal, 'k', fingerprint), { state: 'claimed' })
    await store.complete(principal, 'k', reply)
  }
})

t.test('a claim that is given back may be made again', async t => {
  const { store } = await startStore(t)
  await store.claim(casey, 'k', fingerprint)
  await store.release(casey, 'k')
  t.strictSame(await store.claim(casey, 'k', 'E'.repeat(22)), { state: 'claimed' })
})

t.test('of twenty that claim a key at once, one gets it', async t => {
  const { store } = await startStore(t)
  const claims = await Promise.all(Array.from({ length: 20 }, () => store.claim(casey, 'k', fingerprint)))
  t.strictSame(claims.map(({ state }) => state).toSorted(), ['claimed', ...Array(19).fill('in_progress')])
})

t.test('a claim whose process died goes to the next of the same request after five minutes', async t => {
  const { store, passMinutes } = await startStore(t)
  await store.claim(casey, 'k', fingerprint)
  await passMinutes(4)
  t.strictSame(await store.claim(casey, 'k', fingerprint), { state: 'in_progress' })
  await passMinutes(1)
  t.strictSame(await store.claim(casey, 'k', 'E'.repeat(22)), { state: 'other_request' })
  t.strictSame(await store.claim(casey, 'k', fingerprint), { state: 'claimed' })
  t.strictSame(await store.claim(casey, 'k', fingerprint), { state: 'in_progress' })
})

t.test('replies are kept for 24 hours, and removed as others come', async t => {
  const { store, passMinutes, count } = await startStore(t)
  for (const key of ['a', 'b', 'c']) {
    await store.claim(casey, key, fingerprint)
    await store.complete(casey, key, reply)
  }
  await passMinutes(24 * 60 - 1)
  t.strictSame(await store.claim(casey, 'a', fingerprint), { state: 'done', ...reply })
  await passMinutes(1)
  t.strictSame(await store.claim(casey, 'a', 'E'.repeat(22)), { state: 'claimed' })
  t.equal(await count(), 1)
})

t.test('those who tidy up at once do not wait for each other for ever', async t => {
  const { store, passMinutes, count } = await startStore(t)
  const keys = Array.from({ length: 40 }, (_, n) => `k-${n}`)
  await Promise.all(keys.map(key => store.claim(casey, key, fingerprint)))
  await passMinutes(24 * 60)
  const claims = await Promise.all(keys.toReversed().map(key => store.claim(casey, key, fingerprint)))
  t.ok(claims.every(({ state }) => state === 'claimed'))
  t.equal(await count(), 40)
})
