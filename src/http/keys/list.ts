import Type from 'typebox'
import type { KeyVerbs } from '../../vault/admission/key-list.ts'
import { formatKeyName } from '../../vault/keys/keyset.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { capabilityProblems } from '../problems/by-operation.ts'

const instant = Type.String({ format: 'date-time' })

const listed = Type.Object(
  {
    key: Type.String({ description: 'Purpose, field and version: `data/ip/v1`; `audit//v1` has no field.' }),
    status: Type.Enum(['primary', 'active', 'disabled', 'destroyed'], {
      type: 'string',
      description: '`primary` writes, `active` reads what it wrote, `disabled` is not used, `destroyed` is gone.',
    }),
    kekId: Type.String({ description: 'Which key-encryption key wraps it.' }),
    createdAt: instant,
    primarySince: Type.Optional(instant),
    destroyAfter: Type.Optional(
      Type.String({ format: 'date-time', description: 'When it may be destroyed, where that was asked for.' }),
    ),
    unreadable: Type.Optional(
      Type.Integer({ minimum: 0, description: 'Originals or quarantined bodies that may be lost with it.' }),
    ),
    destroyedAt: Type.Optional(instant),
  },
  { title: 'Key' },
)

const schema = {
  operationId: 'listKeys',
  summary: 'List keys',
  description:
    'Every key of the vault, by purpose, field and version: its state, its times, and what wraps it. No material of a key ' +
    'leaves the process. Keys are changed with `tokenvault keys`, and not over HTTP.',
  tags: ['keys'],
  security: [{ accessToken: [] }],
  response: { 200: Type.Object({ keys: Type.Array(listed) }, { title: 'KeyList' }) },
  'x-problems': capabilityProblems,
  'x-reply-examples': {
    keys: {
      summary: 'Two versions of a data key',
      value: {
        keys: [
          {
            key: 'data/ip/v1',
            status: 'active',
            kekId: 'local:4f9f8e2d1c0b7a69',
            createdAt: '2025-03-01T09:14:07.512Z',
          },
          {
            ...{ key: 'data/ip/v2', status: 'primary', kekId: 'local:4f9f8e2d1c0b7a69' },
            ...{ createdAt: '2026-03-01T09:14:07.512Z', primarySince: '2026-03-01T09:14:14.020Z' },
          },
        ],
      },
    },
  },
} as const

/** GET /v1/keys */
export const listKeys = operation({
  method: 'GET',
  url: '/v1/keys',
  schema,
  needs: 'keys',
  serve:
    ({ keys }: { keys: KeyVerbs }) =>
    async request => {
      const records = await keys.list(principalOf(request), { requestId: request.id })
      return {
        keys: records.map(record => {
          const { status, kekId, createdAt, primarySince, destroyAfter, unreadable, destroyedAt } = record
          return {
            ...{ key: formatKeyName(record), status, kekId, createdAt: createdAt.toISOString() },
            ...(primarySince && { primarySince: primarySince.toISOString() }),
            ...(destroyAfter && { destroyAfter: destroyAfter.toISOString() }),
            ...(unreadable === undefined ? {} : { unreadable }),
            ...(destroyedAt && { destroyedAt: destroyedAt.toISOString() }),
          }
        }),
      }
    },
})
