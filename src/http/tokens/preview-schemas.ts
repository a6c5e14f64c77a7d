import Type from 'typebox'
import type { Preview } from '../../vault/tokens/preview.ts'
import { itemCodeSchema, remainingSchema } from '../problems/schemas.ts'

const budgetLeft = (description: string) =>
  Type.Optional(
    Type.Object(
      {
        limit: Type.Integer({ description: 'Values that you may take in any window of that length.' }),
        left: Type.Integer({ description: 'How many of them are left now.' }),
      },
      { description },
    ),
  )

const answerSchema = Type.Enum(
  ['values', 'approval_required', 'approvals_too_many', 'batch_refused', 'budget_exceeded'],
  {
    type: 'string',
    description:
      '`values`: 200, with the values that are not withheld. `approval_required`: 202, a second person has to decide first. ' +
      'Otherwise the code of the problem: `approvals_too_many`, `batch_refused` of an `atomic` call, `budget_exceeded`.',
  },
)

const fieldSchema = Type.Object({
  field: Type.String(),
  level: Type.Enum(['full', 'partial', 'none'], { type: 'string', description: 'How much of each value you may see.' }),
  values: Type.Integer({
    description: 'Distinct values that are there; those of the level `none` are not looked for.',
  }),
})

const budgetSchema = Type.Object({
  values: Type.Integer({ description: 'Values that the call would take.' }),
  minute: budgetLeft('The budget of a minute; absent where your roles have none.'),
  day: budgetLeft('The budget of a day; absent where your roles have none.'),
  exceeds: Type.Optional(
    Type.Enum(['minute', 'day'], {
      type: 'string',
      description: 'The budget that does not hold the call. Whoever exceeds the budget of a day is suspended.',
    }),
  ),
  retryAfterSeconds: Type.Optional(Type.Integer({ description: 'With `exceeds` only: when the call fits again.' })),
})

const approvalSchema = Type.Object(
  {
    fields: Type.Array(Type.String(), { description: 'Fields of the call that always need an approval.' }),
    withoutApproval: Type.Optional(remainingSchema),
    approvers: Type.Array(Type.String(), { description: 'Roles that may decide.' }),
    request: Type.Optional(
      Type.Object(
        {
          id: Type.String({ format: 'uuid' }),
          state: Type.Enum(['pending', 'approved'], { type: 'string' }),
          expiresAt: Type.String({ format: 'date-time' }),
        },
        {
          description:
            'The request for approval of exactly this call that is open. Where it is `approved`, make the call with its id as `approvalId`.',
        },
      ),
    ),
  },
  { description: 'Absent where the call needs no approval.' },
)

/** What a call would be answered: `preview` of a reply to `dryRun`. */
export const previewSchema = Type.Object(
  {
    answer: answerSchema,
    fields: Type.Array(fieldSchema, { description: 'Every configured field that the call names.' }),
    withheld: Type.Array(Type.Object({ code: itemCodeSchema, items: Type.Integer() }), {
      description:
        'Items that would get an error, by its code. That an original was altered (`original_not_authentic`) is found only when it is opened.',
    }),
    budget: budgetSchema,
    withoutApproval: Type.Array(remainingSchema, {
      description: 'What bounds how many values you take without an approval, the shortest window first.',
    }),
    approval: Type.Optional(approvalSchema),
  },
  {
    title: 'DetokenizePreview',
    description: 'With `dryRun` only: what the same call would be answered now, and what it would cost.',
  },
)

export const examplePreview: Preview = {
  answer: 'approval_required',
  fields: [
    { field: 'ip', level: 'full', values: 1 },
    { field: 'device_id', level: 'full', values: 0 },
  ],
  withheld: [{ code: 'token_unknown', items: 1 }],
  budget: { values: 1, minute: { limit: 20_000, left: 19_990 }, day: { limit: 100_000, left: 99_990 } },
  withoutApproval: [{ above: 10, windowSeconds: 3600, left: 1 }],
  approval: {
    fields: [],
    withoutApproval: { above: 10, windowSeconds: 3600, left: 1 },
    approvers: ['approver'],
  },
}
