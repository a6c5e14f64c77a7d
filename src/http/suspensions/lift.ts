import Type from 'typebox'
import { TokenvaultError } from '../../errors.ts'
import type { SuspensionVerbs } from '../../vault/admission/suspensions.ts'
import { principalOf } from '../auth/authentication.ts'
import { isPlain } from '../auth/principal.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { operation } from '../operation.ts'
import { bodyProblems, guardedProblems } from '../problems/by-operation.ts'

// Plain text, as far as a pattern can say so that means the same with and without the flag `u`: JSON Schema leaves the
// flag open, and without it `\\p{Cc}` means something else. `isPlain` says the rest.
const pattern = '^[^\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]+$'
const who = {
  issuer: Type.String({ minLength: 1, maxLength: 1024, pattern }),
  subject: Type.String({ minLength: 1, maxLength: 256, pattern }),
}

const schema = {
  operationId: 'liftSuspension',
  summary: 'Lift a suspension',
  description:
    'The principal may act again at once, and its budgets count from zero. Nobody lifts their own suspension: a suspended ' +
    'caller is refused this call, too. Neither text may hold control, format or line-separating characters.',
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
    lift: {
      summary: 'Issuer and subject as the list gives them',
      value: { issuer: 'https://idp.example.com/', subject: 'casey' },
    },
  },
  'x-reply-examples': {
    lifted: { summary: 'Lifted', value: { issuer: 'https://idp.example.com/', subject: 'casey', state: 'lifted' } },
  },
} as const

/** POST /v1/suspensions/lift */
export const liftSuspension = operation({
  method: 'POST',
  url: '/v1/suspensions/lift',
  schema,
  needs: 'suspensions',
  serve:
    ({ suspensions }: { suspensions: SuspensionVerbs }) =>
    async request => {
      const { issuer, subject } = request.body
      for (const [name, text] of Object.entries({ issuer, subject })) {
        if (!isPlain(text)) throw new TokenvaultError('request_invalid', `/${name} breaks the rule pattern`)
      }
      await suspensions.lift(principalOf(request), { requestId: request.id, issuer, subject })
      return { issuer, subject, state: 'lifted' } as const
    },
})
