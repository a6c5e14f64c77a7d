import { type Static, Type } from 'typebox'
import type { FieldSchema } from '../fields/fields.ts'
import { type Complain, entriesOf, membersOf } from './yaml-file.ts'

/**
 * Delivery records prove for 30 days which rows there have to be, and SQS keeps a message for 14. What is removed sooner would be
 * missed, or come back.
 */
const leastMonths = 2
const leastDays = 31
const mostDays = 36_500

const days = (minimum: number, description: string) => Type.Integer({ minimum, maximum: mostDays, description })

/** `retention:` of FIELDS_FILE: what ages, and what becomes of it. */
export const retentionSection = Type.Object(
  {
    logins: Type.Optional(
      Type.Object(
        {
          months: Type.Integer({
            minimum: leastMonths,
            maximum: 1200,
            description: 'Whole months of rows that stay beside the present one.',
          }),
          afterwards: Type.Enum(['archive', 'drop'], {
            description: 'What becomes of older ones: archive moves them to Parquet files first.',
          }),
          to: Type.Optional(
            Type.String({
              pattern: '^(s3|file)://',
              errorMessage: 'is not a URL such as s3://bucket/path or file:///path',
              description: 'Where archives go; goes with archive.',
            }),
          ),
        },
        { additionalProperties: false, description: 'Rows of user_logins and login_details, by month of create_date.' },
      ),
    ),
    originals: Type.Optional(
      Type.Unsafe<Readonly<Record<string, number>>>({
        type: 'object',
        additionalProperties: days(leastDays, 'Days after a value was seen last until its original is deleted.'),
        description:
          'By field: days after a value was seen last until its original is deleted. Values that were stored over HTTP stay.',
      }),
    ),
    quarantine: Type.Optional(days(leastDays, 'Days until the body of a quarantined message is erased.')),
    approvals: Type.Optional(
      days(leastDays, 'Days after a request for approval was decided, or ran out, until it is deleted.'),
    ),
  },
  { additionalProperties: false, minProperties: 1, description: 'What `tokenvault retain` removes, and when.' },
)

/** What ages. What is absent stays for ever. */
export interface Retention {
  readonly logins?:
    | { readonly months: number; readonly afterwards: 'drop' }
    | { readonly months: number; readonly afterwards: 'archive'; readonly to: string }
  /** Days by field. */
  readonly originals: ReadonlyMap<string, number>
  readonly quarantineDays?: number
  readonly approvalDays?: number
}

/** What the schema cannot say. */
export function checkRetention(content: unknown, complain: Complain): void {
  const members = new Map(membersOf(content))
  const retention = new Map(membersOf(members.get('retention')))
  const logins = new Map(membersOf(retention.get('logins')))
  if (logins.get('afterwards') === 'archive' && !logins.has('to'))
    complain(['retention', 'logins'], 'archive needs `to`, where the files go')
  if (logins.get('afterwards') === 'drop' && logins.has('to'))
    complain(['retention', 'logins', 'to'], 'to goes with archive', 'key')
  const names = new Set(entriesOf(members.get('fields')).map(entry => new Map(membersOf(entry)).get('name')))
  for (const [name] of membersOf(retention.get('originals')))
    if (!names.has(name)) complain(['retention', 'originals', name], 'there is no such field', 'key')
}

/** @param fields those that the file names */
export function toRetention(
  section: Static<typeof retentionSection> | undefined,
  fields: FieldSchema,
): Retention | undefined {
  if (section === undefined) return undefined
  const { logins, originals = {}, quarantine, approvals } = section
  return Object.freeze({
    ...(logins === undefined ? {} : { logins: toLogins(logins) }),
    originals: new Map(
      [...fields.keys()].flatMap(name => (Object.hasOwn(originals, name) ? [[name, originals[name]!]] : [])),
    ),
    ...(quarantine === undefined ? {} : { quarantineDays: quarantine }),
    ...(approvals === undefined ? {} : { approvalDays: approvals }),
  })
}

function toLogins({ months, afterwards, to = '' }: NonNullable<Static<typeof retentionSection>['logins']>) {
  return afterwards === 'archive' ? { months, afterwards, to } : { months, afterwards }
}
