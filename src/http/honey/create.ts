import Type from 'typebox'
import { TokenvaultError } from '../../errors.ts'
import { type HoneyVerbs, maxHoneyAtOnce } from '../../vault/honey/honey-tokens.ts'
import { principalOf } from '../auth/authentication.ts'
import { isPlain } from '../auth/principal.ts'
import { operation } from '../operation.ts'
import { bodyProblems, capabilityProblems } from '../problems/by-operation.ts'
import { exampleHoneyId, honeyIdSchema, noteSchema } from './schemas.ts'

const body = Type.Object(
  {
    field: Type.String({ minLength: 1, maxLength: 32, description: 'Field of the values, such as `ip`.' }),
    count: Type.Optional(
      Type.Integer({ minimum: 1, maximum: maxHoneyAtOnce, default: 1, description: 'How many; one by default.' }),
    ),
    note: noteSchema,
    like: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 140,
        description:
          'A value whose form the invented ones take: its digits become other digits, its letters other letters. Of addresses only the version counts.',
      }),
    ),
  },
  { title: 'CreateHoneyRequest', additionalProperties: false },
)

const schema = {
  operationId: 'createHoney',
  summary: 'Make honey tokens',
  description:
    'Invents values that the vault does not hold, stores them as others are stored, and gives their tokens. Lay these out ' +
    'where only a thief looks: whoever detokenizes one, or looks its value up, gets an answer as for any other, and the alarm is raised. ' +
    'The values are told once, here, so that a synthetic login can hold them.',
  tags: ['honey'],
  security: [{ accessToken: [] }],
  body,
  response: {
    200: Type.Object(
      {
        honey: Type.Array(
          Type.Object({ id: honeyIdSchema, token: Type.String(), value: Type.String() }, { title: 'MadeHoney' }),
        ),
      },
      { title: 'CreateHoneyReply' },
    ),
  },
  'x-problems': [...capabilityProblems, ...bodyProblems, 'storing_off', 'token_collision'],
  'x-request-examples': {
    address: {
      summary: 'One address',
      value: { field: 'ip', count: 1, note: 'laid out in the export of the fraud team' },
    },
  },
  'x-reply-examples': {
    made: {
      summary: 'Made',
      value: {
        honey: [{ id: exampleHoneyId, token: 'ip_v1_Zk3qW0b9Jv2mX7tR4nYc8A', value: '81.207.14.166' }],
      },
    },
  },
} as const

/** POST /v1/honey */
export const createHoney = operation({
  method: 'POST',
  url: '/v1/honey',
  schema,
  needs: 'honey',
  serve:
    ({ honey }: { honey: HoneyVerbs }) =>
    async request => {
      const { field, count = 1, note, like } = request.body
      if (!isPlain(note)) throw new TokenvaultError('request_invalid', '/note breaks the rule pattern')
      return {
        honey: [...(await honey.create(principalOf(request), { requestId: request.id, field, count, note, like }))],
      }
    },
})
