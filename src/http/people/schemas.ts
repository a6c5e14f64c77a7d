import Type from 'typebox'
import { purposePattern } from '../../vault/admission/open-action.ts'
import { exampleEvent } from '../evidence/schemas.ts'
import { capabilityProblems } from '../problems/by-operation.ts'

export const userIdSchema = Type.String({
  description: 'The `user_id`, byte for byte as the producer wrote it: 1 to 128 characters.',
  minLength: 1,
  maxLength: 512,
})

export const personSchema = Type.String({ description: 'Keyed digest of the user id: `person` of events.' })

export const daySchema = Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}$', description: 'A UTC day.' })

export const reasonSchema = Type.String({
  description: 'Why, in lower-case words joined by _ or -, such as `litigation`; never put a value in it.',
  pattern: purposePattern,
})

export const holdSchema = Type.Object(
  { until: daySchema, reason: Type.String(), heldAt: Type.String({ format: 'date-time' }) },
  { title: 'LegalHold' },
)

export const shownPersonSchema = Type.Object(
  {
    person: personSchema,
    rows: Type.Integer(),
    months: Type.Array(Type.Object({ month: Type.String(), rows: Type.Integer() })),
    firstDay: daySchema,
    lastDay: daySchema,
    tokens: Type.Array(
      Type.Object({
        field: Type.String(),
        tokens: Type.Array(Type.String(), { description: 'Distinct tokens, at most 10,000.' }),
        hasMore: Type.Boolean(),
      }),
    ),
    quarantined: Type.Object(
      {
        entries: Type.Array(Type.String(), { description: 'Entries whose body names the user id.' }),
        examined: Type.Integer({ description: 'Bodies that were opened.' }),
        unattributed: Type.Integer({ description: 'Those of them that name nobody: they may be anybody’s.' }),
        isComplete: Type.Boolean({ description: 'Whether all bodies were opened; at most about 20,000 are.' }),
      },
      { title: 'QuarantinedOfPerson' },
    ),
    exports: Type.Array(
      Type.Object({
        at: Type.String({ format: 'date-time' }),
        kind: Type.String(),
        target: Type.String(),
        fromMonth: Type.String(),
        toMonth: Type.String(),
      }),
      { description: 'Copies of rows of months from the first to the last of the person, newest first.' },
    ),
    access: Type.Object({
      events: Type.Array(Type.Object({}, { additionalProperties: true }), {
        description: 'Audit events that gave one of the tokens or its value, newest first, at most 1,000.',
      }),
      isComplete: Type.Boolean(),
    }),
    hold: Type.Optional(holdSchema),
  },
  { title: 'ShownPerson' },
)

export const personProblems = [...capabilityProblems, 'people_off', 'person_unknown'] as const

export const exampleUserId = 'u-1001'

export const examplePerson = {
  person: 'dGXACEKuo6mIh8Jc9EudUQ',
  rows: 3,
  months: [{ month: '2026-03', rows: 3 }],
  firstDay: '2026-03-01',
  lastDay: '2026-03-09',
  tokens: [{ field: 'ip', tokens: ['ip_v1_WeHPqziSnryoK7aMD4uLDg'], hasMore: false }],
  quarantined: { entries: [], examined: 2, unattributed: 1, isComplete: true },
  exports: [],
  access: { events: [exampleEvent], isComplete: true },
}
