import t from 'tap'
import {
  checkApprovalId,
  checkBatchSize,
  checkPurpose,
  checkTicket,
  maxBatchItems,
} from '../../../src/vault/admission/request-shape.ts'

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

t.test('a ticket is letters and one number, so that it carries no value', async t => {
  for (const ticket of [undefined, 'SEC-1234', 'INC0012345', 'ab1', 'ABCDEFGHIJ-12345678']) {
    t.doesNotThrow(() => checkTicket(ticket), String(ticket))
  }
  const bad = [
    '',
    'SEC',
    '1234',
    'S-1',
    'SEC-',
    'SEC--1',
    'SEC-123456789',
    'ABCDEFGHIJK-1',
    'SEC-1 ',
    'SEC-1\n',
    'SEC_1',
    'ip-10.0.0.1',
  ]
  for (const ticket of bad) t.throws(() => checkTicket(ticket), { code: 'ticket_invalid' }, JSON.stringify(ticket))
})

t.test('what cannot be the id of a request for approval is unknown, and never reaches the store', async t => {
  t.doesNotThrow(() => checkApprovalId(undefined))
  t.doesNotThrow(() => checkApprovalId('5b0e7a52-6f1c-4d39-9a40-0d6c5b1f2e77'))
  for (const id of ['', 'x', '5B0E7A52-6F1C-4D39-9A40-0D6C5B1F2E77', '5b0e7a526f1c4d399a400d6c5b1f2e77', "' or 1=1 --"])
    t.throws(() => checkApprovalId(id), { code: 'approval_unknown' }, id)
})
