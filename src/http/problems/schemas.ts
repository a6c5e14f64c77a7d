import Type from 'typebox'
import { errorCatalogue } from '../../errors.ts'
import { itemCodes, problemCodes } from './problem.ts'

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

/** What a caller may still take without a second person. */
export const remainingSchema = Type.Object(
  {
    above: Type.Integer({ description: 'Values that the caller may take in the window without an approval.' }),
    windowSeconds: Type.Integer({ description: 'Length of the window.' }),
    left: Type.Integer({ description: 'How many of them are left now.' }),
  },
  {
    title: 'WithoutApproval',
    description:
      'How many values the caller may still take without a second person. With a refusal or an approval: the number of values is why one is needed.',
  },
)

/** An item's refusal; its neighbours are answered all the same. */
export const itemErrorSchema = Type.Object({ code: itemCodeSchema }, { title: 'ItemError' })

export const problemSchema = Type.Object(
  {
    type: Type.String({ format: 'uri', description: '`urn:tokenvault:problem:` and the code.' }),
    title: Type.String({ description: 'What the code means; the same text every time.' }),
    status: Type.Integer({ description: 'The HTTP status again.' }),
    code: errorCodeSchema,
    detail: Type.Optional(Type.String({ description: 'Where the request is wrong. It never repeats what was sent.' })),
    remedy: Type.String({ description: 'What to do next.' }),
    requestId: Type.String({
      format: 'uuid',
      description: 'Id that the API gave the request, also in the X-Request-Id header.',
    }),
    window: Type.Optional(
      Type.Enum(['minute', 'day'], {
        type: 'string',
        description:
          'With `budget_exceeded` only: the budget that the call exceeds. Whoever exceeds the budget of a day is suspended.',
      }),
    ),
    withoutApproval: Type.Optional(remainingSchema),
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
