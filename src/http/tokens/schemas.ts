import Type from 'typebox'
import { errorCatalogue } from '../../errors.ts'
import { maxBatchItems, purposePattern, ticketPattern } from '../../vault/admission/request-shape.ts'
import { itemCodes, problemCodes } from '../problems/problem.ts'

/**
 * Schemas with a title become named components of the OpenAPI document. Those of replies stay open to properties that
 * later versions add; the serializer drops whatever is not listed.
 */
function codeList(title: string, lead: string, codes: readonly (keyof typeof errorCatalogue)[]) {
  const lines = codes.map(code => `- \`${code}\`: ${errorCatalogue[code].meaning} ${errorCatalogue[code].remedy}`)
  return Type.Enum([...codes], { title, type: 'string', description: [lead, '', ...lines].join('\n') })
}

export const itemCodeSchema = codeList('ItemErrorCode', 'Why one item of a batch got no answer:', itemCodes)
export const errorCodeSchema = codeList('ErrorCode', 'What stopped a request as a whole:', problemCodes)

/** An item's refusal; its neighbours are answered all the same. */
export const itemErrorSchema = Type.Object({ code: itemCodeSchema }, { title: 'ItemError' })

export const purposeSchema = Type.String({
  title: 'Purpose',
  description:
    'Why you ask, in lower-case words joined by _ or -; it becomes part of the evidence, so never put a value in it.',
  minLength: 1,
  pattern: purposePattern,
  examples: ['fraud_investigation'],
})

export const ticketSchema = Type.String({
  title: 'Ticket',
  description:
    'The ticket under which you act, where the policy asks for one; it becomes part of the evidence, so never put a value in it.',
  pattern: ticketPattern,
  examples: ['SEC-1234'],
})

export const batchSize = { minItems: 1, maxItems: maxBatchItems }

export const receiptSchema = Type.Object(
  {
    log: Type.String({ description: 'Origin of the log.' }),
    sequence: Type.Integer({ minimum: 0, description: 'Place of the audit event of this call.' }),
    leafHash: Type.String({ description: 'base64 of SHA-256(0x00 ‖ event) (RFC 9162, 2.1.1).' }),
    signature: Type.String({
      description: 'base64 of key id ‖ Ed25519 signature; `tokenvault receipt verify` checks it.',
    }),
  },
  {
    title: 'Receipt',
    description: 'Signed promise that the audit event of this call is in the log. Keep it as your proof.',
  },
)

export const problemSchema = Type.Object(
  {
    type: Type.String({ format: 'uri', description: '`urn:tokenvault:problem:` and the code.' }),
    title: Type.String({ description: 'What the code means; the same text every time.' }),
    status: Type.Integer({ description: 'The HTTP status again.' }),
    code: errorCodeSchema,
    detail: Type.Optional(Type.String({ description: 'Where the request is wrong. It never repeats what was sent.' })),
    remedy: Type.String({ description: 'What to do next.' }),
    requestId: Type.String({ format: 'uuid', description: 'Our id of the request, also in the X-Request-Id header.' }),
    window: Type.Optional(
      Type.Enum(['minute', 'day'], {
        type: 'string',
        description:
          'With `budget_exceeded` only: which budget does not hold the call. Who exceeds that of a day is suspended.',
      }),
    ),
    items: Type.Optional(
      Type.Array(Type.Object({ index: Type.Integer({ minimum: 0 }), code: itemCodeSchema }), {
        description: 'With `batch_refused` only: the items that failed, by their index in the request.',
      }),
    ),
  },
  {
    title: 'Problem',
    description: 'Problem details (RFC 9457) with a stable code. Codes are never renamed or reused.',
  },
)
