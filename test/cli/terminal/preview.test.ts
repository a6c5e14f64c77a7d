import t from 'tap'
import { describePreview, type Preview } from '../../../src/cli/terminal/preview.ts'

const allowance = { above: 10, windowSeconds: 3600, left: 2 }
const id = '5b0e7a52-6f1c-4d39-9a40-0d6c5b1f2e77'

function preview(change: Partial<Preview>): string[] {
  return describePreview({
    ...{ answer: 'values', fields: [{ field: 'ip', level: 'partial', values: 1 }], withheld: [] },
    ...{ budget: { values: 1 }, withoutApproval: [] },
    ...change,
  })
}

t.test('a line for each thing that bears on the call, and none for what does not', async t => {
  t.strictSame(preview({}), ['answer: the values', 'field ip: 1 value, level partial'])
  const all = preview({
    ...{ answer: 'batch_refused', withheld: [{ code: 'token_unknown', items: 2 }], withoutApproval: [allowance] },
    budget: {
      values: 3,
      minute: { limit: 9, left: 8 },
      day: { limit: 1, left: 1 },
      exceeds: 'day',
      retryAfterSeconds: 86_400,
    },
  })
  t.strictSame(all, [
    'answer: batch_refused: The call was atomic and at least one item was refused, so nothing is returned.',
    'field ip: 1 value, level partial',
    'withheld: 2 tokens, token_unknown',
    'budget of a minute: 8 of 9 values are left, and the call takes 3',
    'budget of a day: 1 of 1 value are left, and the call takes 3; it fits in 86400 seconds; whoever makes the call is suspended',
    'Without an approval, 2 of 10 values in 1 hour are left.',
  ])
  t.match(preview({ answer: 'of_a_newer_api' }), ['answer: of_a_newer_api'])
})

t.test('who has to approve is said, and how to go on', async t => {
  const expiresAt = '2026-12-01T02:03:44.118Z'
  const need = (approval: NonNullable<Preview['approval']>) => preview({ answer: 'approval_required', approval }).at(-1)
  t.equal(
    need({ fields: ['ip', 'email'], approvers: ['approver', 'chief'] }),
    'approval: decided by approver, chief, always for ip, email; not asked for yet: the call asks for it',
  )
  t.equal(
    need({ fields: [], approvers: [], request: { id, state: 'pending', expiresAt } }),
    `approval: nobody has a role that may; asked for until ${expiresAt}: ${id}`,
  )
  t.equal(
    need({ fields: [], approvers: ['approver'], request: { id, state: 'approved', expiresAt } }),
    `approval: decided by approver; approved until ${expiresAt}: make the call with --approval ${id}`,
  )
})
