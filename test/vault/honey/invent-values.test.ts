import t from 'tap'
import { describeAddress } from '../../../src/vault/fields/address-scope.ts'
import { normalizationRules } from '../../../src/vault/fields/rules/index.ts'
import { inventValue } from '../../../src/vault/honey/invent-values.ts'

const many = (rule: Parameters<typeof inventValue>[0]['rule'], like?: string) =>
  Array.from({ length: 200 }, () => inventValue({ rule }, like))

t.test('an invented address is a public one, of the version of its example', async t => {
  for (const address of many('ip.v1')) t.match(describeAddress(address), { family: 4, scope: 'public' }, address)
  for (const address of many('ip.v1', '2001:db8::1')) t.match(describeAddress(address), { family: 6, scope: 'public' })
})

t.test('an invented value has the form of its example, and hardly ever its text', async t => {
  const forms: [string, RegExp][] = [
    ['593-47-5928', /^\d{3}-\d{2}-\d{4}$/],
    ['A1b2-Zz', /^[A-Z]\d[a-z]\d-[A-Z][a-z]$/],
    ['00ff:AB', /^[0-9a-f]{4}:[0-9A-F]{2}$/],
    ['päxes 78', /^[a-z]ä[a-z]{3} \d\d$/],
  ]
  for (const [like, form] of forms) {
    const values = many('device_id.v1', like)
    t.ok(
      values.every(value => form.test(value)),
      like,
    )
    t.ok(new Set(values).size > 100, 'and they differ')
  }
  for (const like of ['', '12345', '-- -- --', 'é'.repeat(20)])
    t.throws(() => inventValue({ rule: 'device_id.v1' }, like), { code: 'request_invalid' }, like)
})

t.test('every rule takes what is invented for it as it is', async t => {
  for (const [rule, { normalize }] of normalizationRules) {
    if (rule === 'network.v1') continue
    for (const value of many(rule)) t.equal(normalize(value), value, rule)
  }
})
