import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { SuspensionVerbs } from '../../vault/admission/suspensions.ts'
import { principalOf } from '../auth/authentication.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { bodyProblems, guardedProblems } from '../problems/by-operation.ts'

// As an access token's claims: no control or format characters, which evidence and terminals would show as they are.
const pattern = '^[^\\p{Cc}\\p{Cf}\\p{Cs}\\p{Zl}\\p{Zp}]+$'
const who = {
  issuer: Type.String({ minLength: 1, maxLength: 1024, pattern }),
  subject: Type.String({ minLength: 1, maxLength: 256, pattern }),
}

const schema = {
  operationId: 'liftSuspension',
  summary: 'Lift a suspension',
  description:
    'The principal may act again at once, with its budgets as if nothing had been spent. Nobody lifts their own: who is ' +
    'suspended is refused this, too.',
  tags: ['suspensions'],
  security: [{ accessToken: [] }],
  headers: idempotencyHeaders,
  body: Type.Object(who, { title: 'LiftSuspensionRequest', additionalProperties: false }),
  response: {
    200: Type.Object(
      { issuer: Type.String(), subject: Type.String(), state: Type.Literal('lifted') },
      { title: 'LiftSuspensionReply' },
    ),
  },
  'x-problems': [
    ...guardedProblems,
    ...bodyProblems,
    ...idempotencyProblems,
    'role_not_permitted',
    'suspension_unknown',
  ],
  'x-request-examples': {
    lift: { summary: 'As the list gives it', value: { issuer: 'https://idp.example.com/', subject: 'casey' } },
  },
  'x-reply-examples': {
    lifted: { summary: 'Lifted', value: { issuer: 'https://idp.example.com/', subject: 'casey', state: 'lifted' } },
  },
} as const

/** POST /v1/suspensions/lift */
export const liftSuspensionRoute: FastifyPluginAsyncTypebox<{ suspensions: SuspensionVerbs }> = async (
  app,
  { suspensions },
) => {
  app.post('/v1/suspensions/lift', { schema }, async request => {
    const { issuer, subject } = request.body
    await suspensions.lift(principalOf(request), { requestId: request.id, issuer, subject })
    return { issuer, subject, state: 'lifted' } as const
  })
}
