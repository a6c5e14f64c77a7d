import Type from 'typebox'
import type { BatchSemaphore } from '../../concurrency/batch-semaphore.ts'
import { TokenvaultError } from '../../errors.ts'
import { maxBatchItems } from '../../vault/admission/open-action.ts'
import { type Crosswalk, type HashScheme, hashSchemes } from '../../vault/tokens/crosswalk.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { privilegedProblems } from '../problems/by-operation.ts'
import { itemCodeSchema } from '../problems/schemas.ts'
import { purposeSchema, receiptSchema, ticketSchema } from './schemas.ts'

const cursorPattern = '^[0-9a-f]{32}$'

/** Bytes of an HMAC key; longer ones are hashed before they are used (RFC 2104, 2). */
const maxKeyBytes = 1024

const body = Type.Object(
  {
    purpose: purposeSchema,
    field: Type.String({ description: 'A field of the vault, such as `ip` or `device_id`.' }),
    scheme: Type.Enum([...hashSchemes], {
      type: 'string',
      description: 'How the values of your column were hashed: SHA-256, MD5, or HMAC-SHA-256 under a key.',
    }),
    hmacKey: Type.Optional(
      Type.String({
        minLength: 4,
        maxLength: Math.ceil(maxKeyBytes / 3) * 4,
        pattern: '^[A-Za-z0-9+/]+={0,2}$',
        description: `base64 of the key of hmac-sha256, 1 to ${maxKeyBytes} bytes. It is neither logged nor stored.`,
      }),
    ),
    normalize: Type.Optional(
      Type.Enum(['field', 'none'], {
        type: 'string',
        description:
          '`field`, by default: hashes each value as the rule of its field has it today. `none`: exactly the text that the vault holds, which was normalized when it was stored.',
      }),
    ),
    ticket: Type.Optional(ticketSchema),
    before: Type.Optional(
      Type.String({ pattern: cursorPattern, description: '`next` of the page before; absent for the first page.' }),
    ),
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: maxBatchItems,
        description: 'Originals of this page. As many as your roles may have in one call, by default.',
      }),
    ),
  },
  { title: 'CrosswalkRequest', additionalProperties: false },
)

const pair = Type.Object(
  { hash: Type.String({ description: 'Lower-case hexadecimal digits.' }), token: Type.String() },
  { title: 'HashedToken' },
)
const reply = Type.Object(
  {
    pairs: Type.Array(pair, { description: 'Each token of the page beside the hash of its value.' }),
    withheld: Type.Array(Type.Object({ code: itemCodeSchema, items: Type.Integer() }), {
      description: 'How many originals of the page gave no pair, by error code; empty where all did.',
    }),
    next: Type.Optional(
      Type.String({ pattern: cursorPattern, description: '`before` of the next page; absent on the last one.' }),
    ),
    receipt: receiptSchema,
  },
  { title: 'CrosswalkReply' },
)

const request = { purpose: 'migration', ticket: 'MIG-1', field: 'ip', scheme: 'sha256' }
const token = 'ip_v1_WeHPqziSnryoK7aMD4uLDg'
const receipt = {
  log: 'tokenvault/default',
  sequence: 4711,
  leafHash: 'mFqNvXn1rQm0cB2o5rj3w9nVtX0n5b4Wc7h2k1Jx2nE=',
  signature: 'q1xw7QkRj9s2c0yqk0d1vJm4mS2o7k3o0m0Zb2l7b5o8kq4mB0h1m3xq7w5c2p9s6r8t1u4v7y0z3a6b9c2d5e8f1gA=',
}

const schema = {
  operationId: 'crosswalk',
  summary: 'Give the tokens of a field beside hashes of their values',
  description:
    'For a column that holds hashes of values: joins it with tokens, without anybody seeing a value. The originals of the field ' +
    'are hashed inside the API, up to 10,000 a call; ask with `before` until a reply has no `next`. Values that are stored ' +
    'meanwhile may be missing. The right to it (`crosswalk` in the policy) gives as much as revealing every value of the field: ' +
    'who has hashes of all addresses finds each address by trying all of them. So the call is privileged, charged with a value ' +
    'a pair, and audited as `detokenize` is. There is no approval for it: what needs one is refused. ' +
    'Originals that do not open are counted in `withheld`.',
  tags: ['tokens'],
  security: [{ accessToken: [] }],
  body,
  response: { 200: reply },
  'x-problems': [
    ...privilegedProblems,
    'field_not_permitted',
    'approval_required',
    'store_unavailable',
    'store_misconfigured',
  ],
  'x-request-examples': {
    first: { summary: 'The first page', value: request },
    keyed: {
      summary: 'Under a key, the next page',
      value: {
        ...request,
        scheme: 'hmac-sha256',
        hmacKey: 'Zm9yIGV4YW1wbGUgb25seQ==',
        before: '59e1cfab38929ebca82bb68c0f8b8b0e',
        limit: 1000,
      },
    },
  },
  'x-reply-examples': {
    last: {
      summary: 'The last page',
      value: {
        pairs: [{ hash: 'fec52565aa0cf18f57d7cf5b3ac728503b8992d2d6f7d46da1d1201090902b02', token }],
        withheld: [],
        receipt,
      },
    },
    withheld: {
      summary: 'More pages, and an original that does not open',
      value: {
        pairs: [{ hash: 'fec52565aa0cf18f57d7cf5b3ac728503b8992d2d6f7d46da1d1201090902b02', token }],
        withheld: [{ code: 'original_not_authentic', items: 1 }],
        next: '59e1cfab38929ebca82bb68c0f8b8b0e',
        receipt,
      },
    },
  },
} as const

/** POST /v1/crosswalk */
export const crosswalk = operation({
  method: 'POST',
  url: '/v1/crosswalk',
  schema,
  serve: (verbs: { crosswalk: Crosswalk; batches: BatchSemaphore }) => async (request, reply) => {
    const { scheme: name, hmacKey, ...asked } = request.body
    const scheme = schemeOf(name, hmacKey)
    const page = await verbs.batches.run(asked.limit ?? maxBatchItems, reply.raw, () =>
      verbs.crosswalk(principalOf(request), { ...asked, scheme, requestId: request.id }),
    )
    return page as never
  },
})

function schemeOf(name: HashScheme['name'], hmacKey: string | undefined): HashScheme {
  if (name !== 'hmac-sha256') {
    if (hmacKey !== undefined) throw new TokenvaultError('request_invalid', 'hmacKey belongs to hmac-sha256 alone')
    return { name }
  }
  if (hmacKey === undefined) throw new TokenvaultError('request_invalid', 'hmac-sha256 needs hmacKey')
  const key = Buffer.from(hmacKey, 'base64')
  // Text that Buffer reads in another way than whoever wrote it would make hashes that match nothing.
  if (key.length > maxKeyBytes || key.toString('base64') !== hmacKey)
    throw new TokenvaultError('request_invalid', `hmacKey is not base64 of 1 to ${maxKeyBytes} bytes`)
  return { name, key }
}
