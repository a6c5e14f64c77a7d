import t from 'tap'
import { createTestDatabase, testCluster } from '../helpers/embedded-postgres.ts'
import { createVaultDatabase } from '../helpers/vault-database.ts'
t.test('m', async t => {
  const at = performance.now()
  await testCluster(); t.comment('cluster', performance.now() - at)
  for (let i = 0; i < 5; i++) { const a = performance.now(); await createTestDatabase(t); t.comment('empty', performance.now() - a) }
  for (let i = 0; i < 5; i++) { const a = performance.now(); await createVaultDatabase(t); t.comment('vault', performance.now() - a) }
  const a = performance.now(); await Promise.all(Array.from({length: 8}, () => createVaultDatabase(t))); t.comment('8 vaults', performance.now() - a)
})
