import { type Static, type TSchema, Type } from 'typebox'
import { maxBatchItems, purposePattern } from '../admission/open-action.ts'

/** Largest budget that may be written down; more is meant as no budget. */
const maxBudget = 1_000_000_000

/** Whole hours or days, a week at most: what was taken is kept no longer. */
const windowPattern = '^([1-9]|[1-9][0-9]|1[0-5][0-9]|16[0-8])h$|^[1-7]d$'

/** In UTF-16 code units; the schema counts code points. */
export const maxRoleName = 64

/** What is said of a key of roles that is not the name of a role. */
export const roleNameMessage = `is not a name of 1 to ${maxRoleName} printable characters other than "*"`

/** Text without control characters or spaces around it: what an access token may carry as a role, or as a claim's name. */
const printable = (maxLength: number) => `(?! )[^\\p{Cc}\\p{Cf}\\p{Cs}\\p{Zl}\\p{Zp}]{1,${maxLength}}(?<! )$`

type TextShape = { readonly pattern: string; readonly errorMessage: string }

/**
 * The shape of a policy file.
 *
 * @param fields the names of the configured fields, the only ones that the file may name; without them, as
 *   docs/policy.schema.json publishes it, every name that a field may have
 */
export function policyFileSchema(fields?: Iterable<string>) {
  const names = fields && [...fields]
  const field = {
    pattern: `^(${names?.join('|') ?? '[a-z][a-z0-9_]{0,31}'}|\\*)$`,
    errorMessage: `is not a configured field or "*"${names ? `; there are ${names.join(', ')}` : ''}`,
  }
  return Type.Object(
    {
      version: Type.Literal(1, { description: 'Version of the shape of this file.' }),
      on_honey: Type.Optional(
        Type.Enum(['alarm', 'suspend'], {
          description: 'What becomes of who meets a honey token, beside the alarm: `suspend` suspends them.',
        }),
      ),
      roles_claims: texts(
        1,
        { pattern: `^${printable(256)}`, errorMessage: 'is not the name or path of a claim' },
        'Claims of the access token that carry roles, by name or path; all that are present add up.',
      ),
      erasure: Type.Optional(
        Type.Object(
          {
            rows: Type.Optional(
              Type.Enum(['remove', 'anonymize'], {
                description:
                  'What becomes of the rows of an erased person where a call does not say: gone, or kept without user_id and without tokens that only they had. `remove` unless set.',
              }),
            ),
            approval: Type.Optional(
              Type.Enum(['required', 'none'], {
                description: 'Whether a second person approves each erasure; `required` unless set.',
              }),
            ),
          },
          { additionalProperties: false, minProperties: 1, description: 'How people are erased.' },
        ),
      ),
      roles: mapping({ pattern: `^(?!\\*$)${printable(maxRoleName)}`, errorMessage: roleNameMessage }, role(field), {
        minProperties: 1,
        description: 'Roles by the name that access tokens carry.',
      }),
    },
    {
      additionalProperties: false,
      title: 'Policy of tokenvault',
      description: 'Who may reveal what, and why (POLICY_FILE). What stands nowhere is refused.',
    },
  )
}

/** @param field what the name of a field may be, or `*` */
function role(field: TextShape) {
  const reveal = mapping(field, Type.Enum(['full', 'partial', 'none'], { title: 'the level of a field' }), {
    description: 'How much of a field is revealed; "*" is every configured field that is not named.',
  })
  const budget = Type.Object(
    {
      per_minute: wholeNumber(1, maxBudget, 'Most values in any 60 seconds.'),
      per_day: wholeNumber(1, maxBudget, 'Most values in any 24 hours.'),
    },
    { additionalProperties: false, description: 'How many values a principal may take.' },
  )
  const approval = Type.Object(
    {
      above: wholeNumber(
        0,
        maxBudget,
        'A call with which the caller takes more values than this in the window waits for a second person.',
      ),
      window: Type.Optional(
        Type.String({
          pattern: windowPattern,
          errorMessage: 'is not a time from 1h to 168h, or from 1d to 7d',
          description: 'Length of the window in which the values of `above` are counted, 24h unless set.',
        }),
      ),
      fields: texts(0, field, 'A call for one of these fields waits for a second person.'),
    },
    { additionalProperties: false, minProperties: 1, description: 'When a second person approves a call.' },
  )
  return Type.Object(
    {
      reveal: Type.Optional(reveal),
      tokenize: texts(1, field, 'Fields whose tokens the role may look up by value, or ["*"].'),
      store: texts(1, field, 'Fields of which the role may store values, or ["*"].'),
      store_by_default: flag('Whether calls of the role store where they do not say; needs store.'),
      crosswalk: texts(
        1,
        field,
        'Fields of which the role may have every token beside a hash of its value, or ["*"]: as much as all their values.',
      ),
      translate: texts(
        1,
        field,
        'Fields whose tokens of a rotated token key the role may exchange for present ones, or ["*"].',
      ),
      purposes: texts(
        1,
        {
          pattern: `^\\*$|${purposePattern}`,
          errorMessage: 'is not a purpose such as fraud_investigation, or "*"',
        },
        'Purposes that the role may state, or ["*"]; required where it reveals, tokenizes, stores, crosswalks or translates.',
      ),
      ticket: Type.Optional(
        Type.Enum(['required', 'optional'], { description: 'Whether each call names a ticket (SEC-1234).' }),
      ),
      batch_limit: wholeNumber(1, maxBatchItems, 'Most items of one call.'),
      budget: Type.Optional(budget),
      approval: Type.Optional(approval),
      audit: flag('Whether the role reads and searches the evidence.'),
      quarantine: flag('Whether the role works on quarantined messages.'),
      approve: flag('Whether the role decides about approvals.'),
      suspensions: flag('Whether the role lists and lifts suspensions.'),
      keys: flag('Whether the role sees which keys there are, and their ages.'),
      people: flag('Whether the role answers requests of people about their data.'),
      honey: flag('Whether the role makes honey tokens and sees which tokens are some.'),
    },
    { additionalProperties: false, title: 'a role', description: 'What the role permits; roles add up.' },
  )
}

/** A mapping whose keys are texts of one shape. A key of another shape does not hide what is wrong with its value. */
function mapping<Value extends TSchema>(
  keys: TextShape,
  values: Value,
  options: { readonly description: string; readonly minProperties?: number },
) {
  return Type.Unsafe<Record<string, Static<Value>>>({
    type: 'object',
    propertyNames: Type.String(keys),
    additionalProperties: values,
    ...options,
  })
}

function texts(minItems: number, shape: TextShape, description: string) {
  return Type.Optional(Type.Array(Type.String(shape), { minItems, uniqueItems: true, description }))
}

function wholeNumber(minimum: number, maximum: number, description: string) {
  return Type.Optional(Type.Integer({ minimum, maximum, description }))
}

function flag(description: string) {
  return Type.Optional(Type.Boolean({ description }))
}
