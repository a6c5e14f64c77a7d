import t from 'tap'
import { parseToken } from '../../../src/crypto/token.ts'
import { createWorld, investigator } from '../../helpers/vault/vault-world.ts'

const request = { requestId: 'request-1', purpose: 'fraud_investigation', atomic: false }

/** A world whose log says that nothing is bounded. */
function createUnboundedWorld() {
  const world = createWorld()
  world.audit.admission = { allowed: true, standing: { allowances: [] } }
  return world
}

t.test('a preview looks up as many ids as the call, and none of a token refused from its text', async t => {
  const { store, originals, previewDetokenize } = createUnboundedWorld()
  const [email] = store('email', ['a@example.org']) as [string]
  const [good] = store('ip', ['203.0.113.7']) as [string]
  const { preview } = await previewDetokenize(investigator, { ...request, tokens: [email, good, 'nonsense', email] })
  t.equal(new Set(originals.asked).size, 3)
  t.equal(originals.asked[0], parseToken(good)!.id)
  t.notOk(originals.asked.includes(parseToken(email)!.id))
  t.strictSame(preview.fields, [
    { field: 'ip', level: 'full', values: 1 },
    { field: 'email', level: 'none', values: 0 },
  ])
  t.strictSame(preview.withheld, [
    { code: 'field_not_permitted', items: 2 },
    { code: 'token_malformed', items: 1 },
  ])
})

t.test(
  'the action names what the call would cost and the digest of its approval, and charges and changes nothing',
  async t => {
    const { store, audit, detokenize, previewDetokenize } = createUnboundedWorld()
    const tokens = store('ip', ['203.0.113.7', '203.0.113.8'])
    await previewDetokenize(investigator, { ...request, tokens: [...tokens, tokens[0]!] })
    await previewDetokenize(investigator, { ...request, tokens: tokens.toReversed() })
    const [first, second] = audit.actions
    t.match(first, { charge: undefined, change: undefined, otherwise: undefined, preview: { charge: { values: 2 } } })
    t.equal(first?.preview?.digest, second?.preview?.digest, 'the same call')
    audit.admission = { allowed: true }
    await detokenize(investigator, { ...request, tokens })
    t.equal(audit.actions[2]?.otherwise?.().change.kind, 'request_approval')
    t.match(audit.actions[2]?.otherwise?.().change, { digest: first?.preview?.digest }, 'as the call itself')
  },
)

t.test('nothing is told where the log does not say how the call stands, or does not answer', async t => {
  const { store, audit, previewDetokenize } = createWorld()
  const tokens = store('ip', ['203.0.113.7'])
  await t.rejects(previewDetokenize(investigator, { ...request, tokens }), { code: 'internal' })
  audit.commit = () => Promise.reject(new Error('gone'))
  await t.rejects(previewDetokenize(investigator, { ...request, tokens }), { code: 'audit_unavailable' })
})
