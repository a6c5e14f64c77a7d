import Type from 'typebox'
import { approvalIdPattern, purposePattern, ticketPattern } from '../../vault/admission/open-action.ts'
import type { Approval } from '../../vault/admission/ports.ts'

export const approvalIdSchema = Type.String({
  format: 'uuid',
  pattern: approvalIdPattern,
  description: 'Id of a request for approval, as the 202 of `detokenize` and the list give it.',
})

export const approvalParams = Type.Object({ id: approvalIdSchema })

export const approvalStateSchema = Type.Enum(['pending', 'approved', 'refused', 'used', 'expired'], {
  title: 'ApprovalState',
  type: 'string',
  description:
    '`pending` requests wait 24 hours for a decision; `approved` ones may be used within 15 minutes, once. Requests ' +
    'that were not decided or used in time are `expired`.',
})

export const approvalSchema = Type.Object(
  {
    id: approvalIdSchema,
    state: approvalStateSchema,
    issuer: Type.String({ description: 'Who asks: `iss` of the access token.' }),
    subject: Type.String({ description: 'Who asks: `sub` of the access token.' }),
    roles: Type.Array(Type.String(), { description: 'Roles of the one who asked, at that time.' }),
    purpose: Type.String({ pattern: purposePattern }),
    ticket: Type.Optional(Type.String({ pattern: ticketPattern })),
    reveal: Type.Enum(['full', 'partial'], { type: 'string', description: 'The most that would be revealed.' }),
    values: Type.Integer({ minimum: 0, description: 'Distinct tokens asked for.' }),
    fields: Type.Object(
      {},
      {
        additionalProperties: Type.Integer({ minimum: 0 }),
        description: 'Distinct tokens asked for, by field. The tokens themselves are never shown.',
      },
    ),
    createdAt: Type.String({ format: 'date-time' }),
    expiresAt: Type.String({
      format: 'date-time',
      description: 'When the request expires; once it is approved, when the approval expires.',
    }),
    decidedBy: Type.Optional(Type.String({ description: 'Subject of the approver who decided.' })),
    decidedByIssuer: Type.Optional(Type.String({ description: 'Issuer of that subject.' })),
    decidedAt: Type.Optional(Type.String({ format: 'date-time' })),
  },
  { title: 'Approval' },
)

/** An approval as it leaves. */
export function presentApproval({ createdAt, expiresAt, decidedAt, ...rest }: Approval) {
  return {
    ...rest,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt.toISOString(),
    ...(decidedAt === undefined ? {} : { decidedAt: decidedAt.toISOString() }),
  }
}

export const exampleApproval = {
  id: '2b0a4d0e-6f1c-4b9a-8d3e-5c6d7e8f9a0b',
  state: 'pending',
  issuer: 'https://idp.example.com/',
  subject: 'casey',
  roles: ['investigator'],
  purpose: 'fraud_investigation',
  ticket: 'SEC-1234',
  reveal: 'full',
  values: 6200,
  fields: { ip: 6000, device_id: 200 },
  createdAt: '2026-03-01T09:14:07.512Z',
  expiresAt: '2026-03-02T09:14:07.512Z',
}
