import t from 'tap'
import { createFieldSchema, loginFields } from '../../src/vault/fields.ts'
import {
  checkBatchSize,
  checkPurpose,
  knownRoles,
  maxBatchItems,
  mayOpenQuarantined,
  mayOperateQuarantine,
  permittedFields,
} from '../../src/vault/policy.ts'

t.test('what each role may reveal and look for', async t => {
  t.same(knownRoles, ['analyst', 'investigator', 'auditor', 'operator'])
  for (const operation of ['detokenize', 'tokenize'] as const) {
    t.same(
      [...permittedFields(['investigator'], operation, loginFields)],
      ['ip', 'device_id'],
      `investigator: ${operation}`,
    )
    const nobody = [
      [],
      ['analyst'],
      ['auditor'],
      ['analyst', 'auditor'],
      ['operator'],
      ['admin'],
      ['Investigator'],
      ['__proto__'],
      [''],
    ]
    for (const roles of nobody)
      t.equal(permittedFields(roles, operation, loginFields).size, 0, `${JSON.stringify(roles)}: ${operation}`)
    t.equal(permittedFields(['analyst', 'unheard-of', 'investigator'], operation, loginFields).size, 2, 'roles add up')
  }
})

t.test('a field that a team configures is revealed to investigators, and no other is', async t => {
  const fields = createFieldSchema([{ name: 'email', rule: 'email.v1', column: 'masked_email' }])
  t.same([...permittedFields(['investigator'], 'detokenize', fields)], ['email'])
  t.equal(permittedFields(['analyst'], 'detokenize', fields).size, 0)
})

t.test(
  'an operator works on the quarantine and reads no body; that takes an investigator who is an operator too',
  async t => {
    t.ok(mayOperateQuarantine(['analyst', 'operator']))
    for (const roles of [[], ['investigator'], ['auditor'], ['analyst'], ['Operator'], ['__proto__']])
      t.notOk(mayOperateQuarantine(roles), JSON.stringify(roles))
    t.ok(mayOpenQuarantined(['operator', 'investigator'], loginFields))
    for (const roles of [[], ['operator'], ['investigator'], ['operator', 'auditor'], ['investigator', 'analyst']])
      t.notOk(mayOpenQuarantined(roles, loginFields), JSON.stringify(roles))
  },
)

t.test('a purpose is a short identifier', async t => {
  for (const purpose of ['fraud_investigation', 'abc', 'a-b_c', 'x'.repeat(64)]) {
    t.doesNotThrow(() => checkPurpose(purpose), purpose)
  }
  t.throws(() => checkPurpose(''), { code: 'purpose_missing' })
  const bad = [
    'ab',
    'a-1',
    'fraud_203',
    'fraud_',
    'fraud__case',
    'x'.repeat(65),
    'Fraud',
    '1abc',
    '_abc',
    'fraud case',
    'fraud\n',
    ' fraud',
    '203.0.113.7',
    'fräud',
    'a:b',
  ]
  for (const purpose of bad) t.throws(() => checkPurpose(purpose), { code: 'purpose_invalid' }, JSON.stringify(purpose))
})

t.test('a batch holds 1 to 10,000 items', async t => {
  t.equal(maxBatchItems, 10_000)
  t.throws(() => checkBatchSize(0), { code: 'batch_empty' })
  t.doesNotThrow(() => checkBatchSize(1))
  t.doesNotThrow(() => checkBatchSize(10_000))
  t.throws(() => checkBatchSize(10_001), { code: 'batch_too_large' })
})
