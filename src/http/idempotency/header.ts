import Type from 'typebox'
import type { ProblemCode } from '../problems/problem.ts'

/**
 * The headers of a state-changing operation. A route whose schema names this very object is idempotent: what is
 * documented and what is done cannot differ (plugin.ts looks for it).
 */
export const idempotencyHeaders = Type.Object({
  'Idempotency-Key': Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 255,
      pattern: '^[ -~]+$',
      description:
        'Makes a repeat of this request harmless: within 24 hours the same key with the same request gets the first reply ' +
        'again, with `Idempotency-Replayed: true`, and nothing is done again. Keys of different callers are independent. ' +
        'A request that was refused (4xx) changed nothing and may be repeated under its key. After a failure (5xx, or no ' +
        'reply) it is not known whether the request took effect: repeat it under the same key, not a new one. It is answered ' +
        '409 `idempotency_in_progress` for up to five minutes, and is then carried out.',
      examples: ['8e03978e-40d5-43e8-bc93-6894a57f9324'],
    }),
  ),
})

/** What an idempotent operation may answer besides, and `store_unavailable`. */
export const idempotencyProblems = [
  'idempotency_key_invalid',
  'idempotency_key_reused',
  'idempotency_in_progress',
] as const satisfies readonly ProblemCode[]
