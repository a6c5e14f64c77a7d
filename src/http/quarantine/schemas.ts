import Type from 'typebox'

export const entryIdSchema = Type.String({
  pattern: '^[0-9a-f]{32}$',
  description: 'Id of an entry, as the list gives it.',
})

export const entryParams = Type.Object({ id: entryIdSchema })

export const stateSchema = Type.Enum(['quarantined', 'redrive_requested', 'redriven', 'discarded'], {
  title: 'QuarantineState',
  type: 'string',
  description:
    'A `redrive_requested` entry waits for a worker, which makes it `redriven`, or `quarantined` again with its new reason. ' +
    'The bodies of `redriven` and `discarded` entries are erased.',
})

export const reasonSchema = Type.String({
  pattern: '^[a-z][a-z0-9_]{0,63}$',
  description: 'Why the message is not a valid event, such as `ip_invalid`.',
})

const entryProperties = {
  id: entryIdSchema,
  state: stateSchema,
  reason: reasonSchema,
  messageId: Type.String({ description: 'Id that the queue gave the message.' }),
  eventIndex: Type.Integer({ minimum: 0, description: 'Place among all that the message holds, from 0.' }),
  sentOn: Type.String({ format: 'date', description: 'UTC day on which the message was sent.' }),
  bodyBytes: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()], { description: 'Size of the sealed body.' }),
  redrives: Type.Integer({ minimum: 0, description: 'How often a worker tried again.' }),
  createdAt: Type.String({ format: 'date-time' }),
  changedAt: Type.String({ format: 'date-time', description: 'When the state was last set.' }),
}

export const entrySchema = Type.Object(entryProperties, { title: 'QuarantineEntry' })

const jsonTypes = ['object', 'array', 'string', 'number', 'boolean', 'null'] as const

export const shownEntrySchema = Type.Object(
  {
    ...entryProperties,
    shape: Type.Optional(
      Type.Object(
        {
          json: Type.Enum([...jsonTypes, 'invalid', 'unreadable'], {
            type: 'string',
            description: '`invalid`: the body is not JSON. `unreadable`: its seal does not open.',
          }),
          elements: Type.Optional(Type.Integer({ minimum: 0, description: 'Elements of an array.' })),
          properties: Type.Optional(
            Type.Array(
              Type.Object({ name: Type.String(), type: Type.Enum([...jsonTypes, 'missing'], { type: 'string' }) }),
              { description: 'The properties that an event has, and the JSON type of each in this body.' },
            ),
          ),
          otherProperties: Type.Optional(
            Type.Integer({
              minimum: 0,
              description: 'Count of the other properties. Their names are not shown, because a name may hold a value.',
            }),
          ),
        },
        { title: 'BodyShape' },
      ),
    ),
  },
  { title: 'ShownQuarantineEntry' },
)

export const redriveRequestedSchema = Type.Integer({
  minimum: 0,
  description: 'Entries that a worker will try again.',
})

export const exampleEntry = {
  id: '6f1c2b9a4d3e4f5a8b7c6d5e4f3a2b1c',
  state: 'quarantined',
  reason: 'ip_invalid',
  messageId: '3f0c1f0e-52a1-4a27-8f0b-0f5ad1b1c9c4',
  eventIndex: 0,
  sentOn: '2026-03-01',
  bodyBytes: 152,
  redrives: 0,
  createdAt: '2026-03-01T09:14:07.512Z',
  changedAt: '2026-03-01T09:14:07.512Z',
}
