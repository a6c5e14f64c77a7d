import t from 'tap'
import { guardedOperations } from '../../../src/http/operations.ts'
import { startVaultApi } from '../../helpers/http/vault-api.ts'

const policy = `
version: 1
roles:
  investigator: { reveal: { "*": full }, purposes: ["*"] }
  nothing: {}
`
const id = '2b0a4d0e-6f1c-4b9a-8d3e-5c6d7e8f9a0b'
const bodies = new Map<string, object>([
  ['/v1/detokenize', { purpose: 'fraud_investigation', tokens: ['ip_v1_x', 'ip_v1_y'] }],
  ['/v1/tokenize', { purpose: 'fraud_investigation', values: [{ field: 'ip', value: '10.0.0.1' }] }],
  ['/v1/crosswalk', { purpose: 'fraud_investigation', field: 'ip', scheme: 'sha256' }],
  ['/v1/approvals/:id/decision', { decision: 'approve' }],
  ['/v1/suspensions/lift', { issuer: 'https://issuer.test', subject: 'kim' }],
  ['/v1/quarantine/redrive', {}],
  ['/v1/quarantine/:id/open', { purpose: 'producer_fault' }],
  ['/v1/tokens/translate', { purpose: 'migration', tokens: ['ip_v1_x'] }],
  ['/v1/honey', { field: 'ip', note: 'somewhere' }],
  ['/v1/people/show', { userId: 'u' }],
  ['/v1/people/export', { userId: 'u', purpose: 'data_subject_request' }],
  ['/v1/people/hold', { userId: 'u', until: '2099-12-31', reason: 'litigation' }],
  ['/v1/people/release', { userId: 'u' }],
  ['/v1/people/:userId/erasure', { ticket: 'DSR-1' }],
  ['/v1/audit/search', { purpose: 'data_subject_request', where: { token: 'ip_v1_x' } }],
])

t.test('whoever may do nothing makes two events a minute of each operation, however often it is called', async t => {
  const { call, vault, close } = await startVaultApi(t, { policy, originals: 1 })
  const admin = await vault.connect()
  const readEvents = async () => {
    const { rows } = await admin.query<{ type: string; decision: string; requested: number; count: number | null }>(
      'SELECT type, decision, requested, count FROM pii_vault.audit_events WHERE subject = $1 ORDER BY sequence',
      ['mallory'],
    )
    return rows
  }
  const paths = guardedOperations.map(({ method, url }) => {
    const query = url.endsWith('/consistency') ? '?from=1&to=2' : ''
    const place = /\/(audit|erasures)\//.test(url) ? '1' : url.includes('/quarantine') ? id.replaceAll('-', '') : id
    return {
      method,
      path: `${url.replace(/:\w+/, place)}${query}`,
      body: method === 'POST' ? bodies.get(url) : undefined,
    }
  })
  const rounds = 4
  const roles = [['nothing'], [], ['nothing'], ['unheard-of']]
  for (let round = 0; round < rounds; round++) {
    for (const { method, path, body } of paths) {
      const { status } = await call({ sub: 'mallory', roles: roles[round]! }, method, path, body)
      t.match(status, /^(200|403|404)$/, `${path} ${status}`)
    }
  }
  const first = await readEvents()
  t.ok(first.every(({ count }) => count === null))
  t.equal(new Set(first.map(({ type }) => type)).size, first.length, 'the first of each operation is an event at once')
  await close()
  const all = await readEvents()
  t.equal(all.length, first.length * 2, 'a process that ends leaves nothing uncounted')
  t.equal(
    all.reduce((sum, { count }) => sum + (count ?? 1), 0),
    paths.length * rounds,
  )
  const detokenized = all.filter(({ type }) => type === 'detokenize')
  t.match(detokenized, [{ requested: 2 }, { requested: 6, count: 3, decision: 'refused' }])
})
