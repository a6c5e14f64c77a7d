import { type Static, Type } from 'typebox'
import { inetPrefixes, tokenFormats } from '../../crypto/typed-token.ts'
import {
  type ClearColumn,
  type ClearTexts,
  clearShapes,
  createClearColumns,
  findClearProblems,
  maxClearColumns,
} from '../fields/clear-columns.ts'
import {
  createFieldSchema,
  type FieldDefinition,
  type FieldSchema,
  type FieldTexts,
  fieldShapes,
  findFieldProblems,
} from '../fields/fields.ts'
import { derivationRules, normalizationRules } from '../fields/rules/index.ts'
import { checkRetention, type Retention, retentionSection, toRetention } from './retention-section.ts'
import { type Complain, entriesOf, membersOf, readYamlFile } from './yaml-file.ts'

/** Properties of a field whose values stand in events. */
const notOfDerived = ['rule', 'column', 'required', 'placeholders', 'format', 'inet_prefix'] as const

const field = Type.Object(
  {
    name: Type.String({ ...fieldShapes.name, description: 'Name of the property in events, and in tokens: ip.' }),
    rule: Type.Optional(
      Type.Enum([...normalizationRules.keys()], {
        description: 'Versioned rule that values are normalized by; docs/normalization.md has them all.',
      }),
    ),
    column: Type.Optional(
      Type.String({ ...fieldShapes.column, description: 'Column of user_logins that holds the tokens.' }),
    ),
    derive: Type.Optional(
      Type.Enum([...derivationRules.keys()], {
        description:
          'In place of rule and column: versioned rule that derives the values from those of another field; network.v1 gives the network of an address. The tokens stand in analyst.ip_networks.',
      }),
    ),
    from: Type.Optional(
      Type.String({ description: 'Name of the field that values are derived from, which stands before this one.' }),
    ),
    required: Type.Optional(
      Type.Boolean({
        default: true,
        description:
          'Whether an event in which the property is absent, null or empty is quarantined; if not, its row has null in the column.',
      }),
    ),
    placeholders: Type.Optional(
      Type.Array(Type.String({ pattern: '\\S', errorMessage: 'is empty', title: 'a placeholder' }), {
        description:
          'Values that say that there is none: null is stored for them. Compared after normalization, without case. They replace those of the rule, which docs/normalization.md has; an empty list: no value is a placeholder.',
      }),
    ),
    format: Type.Optional(
      Type.Enum([...tokenFormats], {
        default: 'text',
        description:
          'How its tokens are spelled: text (field, version and 22 letters), uuid (of version 8) or inet (an IPv6 address), for columns of these types. It never changes once the field has tokens.',
      }),
    ),
    inet_prefix: Type.Optional(
      Type.Enum([...inetPrefixes], {
        default: 'fd00::/8',
        description:
          'The network of unique local addresses that tokens of format inet are in. Take one that none of your hosts is in.',
      }),
    ),
  },
  {
    additionalProperties: false,
    title: 'a field',
    if: { anyOf: [{ required: ['derive'] }, { required: ['from'] }] },
    // biome-ignore lint/suspicious/noThenProperty: it is a keyword of JSON Schema
    then: { required: ['derive', 'from'], not: { anyOf: notOfDerived.map(name => ({ required: [name] })) } },
    else: { title: 'a field', required: ['rule', 'column'] },
  },
)

const clearColumn = Type.Object(
  {
    property: Type.String({
      ...clearShapes.property,
      description:
        'Name of the property in events. Its value is stored as it comes: never name one that says who somebody is.',
    }),
    column: Type.String({
      ...clearShapes.column,
      description: 'Column of analyst.login_details that takes the value.',
    }),
    type: Type.String({
      ...clearShapes.type,
      description:
        'Type of the column: text, varchar(n), integer, bigint, numeric(p,s), double precision, boolean, date or timestamptz. What does not fit is null.',
    }),
  },
  { additionalProperties: false, title: 'a clear column' },
)

/** What FIELDS_FILE says. */
export interface FieldsFile {
  readonly fields: FieldSchema
  /** In the order of the file; none where it has no `clear`. */
  readonly clear: readonly ClearColumn[]
  /** Absent where nothing ages. */
  readonly retention?: Retention | undefined
}

/** The shape of FIELDS_FILE, published as docs/fields.schema.json. */
export const fieldsFileSchema = Type.Object(
  {
    version: Type.Literal(1, { description: 'Version of the shape of this file.' }),
    fields: Type.Array(field, {
      minItems: 1,
      description: 'The fields, in the order of the tokens of a row. Names, and columns, are all different.',
    }),
    clear: Type.Optional(
      Type.Array(clearColumn, {
        maxItems: maxClearColumns,
        description:
          'More properties of events that are stored in clear, in analyst.login_details, which `migrate` gives a column for each.',
      }),
    ),
    retention: Type.Optional(retentionSection),
  },
  {
    additionalProperties: false,
    title: 'Fields of tokenvault',
    description:
      'Which fields of events are tokenized, by which rule, and where their tokens are stored; and what else is stored in clear (FIELDS_FILE).',
  },
)

/**
 * Reads the fields to tokenize, and the properties that stay in clear, from YAML 1.2 or JSON:
 *
 * ```yaml
 * version: 1
 * fields:
 *   - { name: ip, rule: ip.v1, column: masked_ip }
 *   - { name: device_id, rule: device_id.v1, column: masked_device_id, required: false, placeholders: ["0", test] }
 *   - { name: network, derive: network.v1, from: ip }
 * clear:
 *   - { property: app_version, column: app_version_full, type: varchar(32) }
 * retention:
 *   logins: { months: 13, afterwards: drop }
 *   originals: { ip: 400 }
 * ```
 *
 * Their order is that of the tokens of a row. Nothing is guessed: unknown keys, aliases and numbers for texts are refused.
 *
 * @throws TokenvaultError `config_invalid` with every problem by line and column. It quotes nothing of the text, which may be that of
 *   another file, given by mistake.
 */
export function parseFieldsFile(text: string): FieldsFile {
  const { content } = readYamlFile(text, {
    schema: fieldsFileSchema,
    code: 'config_invalid',
    name: 'FIELDS_FILE',
    check(found, complain) {
      checkFields(found, complain)
      checkClear(found, complain)
      checkRetention(found, complain)
    },
  })
  const fields = createFieldSchema(content.fields.map(asDefinition))
  const retention = toRetention(content.retention, fields)
  return { fields, clear: createClearColumns(content.clear ?? []), ...(retention && { retention }) }
}

function asDefinition({ derive, from, inet_prefix: inetPrefix, ...entry }: Static<typeof field>): FieldDefinition {
  if (derive !== undefined) return { name: entry.name, rule: derive, derivedFrom: from }
  return { ...entry, rule: entry.rule!, inetPrefix }
}

/** What a field may not be beside the others, and in user_logins. */
function checkFields(content: unknown, complain: Complain): void {
  const list = entriesOf(new Map(membersOf(content)).get('fields'))
  const earlier: FieldTexts[] = []
  for (const [index, entry] of list.entries()) {
    const members = membersOf(entry)
    const has = (name: string) => members.some(([key]) => key === name)
    if (has('derive') || has('from')) {
      for (const name of ['derive', 'from'])
        if (!has(name)) complain(['fields', index], `a derived field has no ${name}`)
      for (const name of notOfDerived)
        if (has(name)) complain(['fields', index, name], `${name} does not go with derive`, 'key')
    }
    const texts: FieldTexts = Object.fromEntries(members.filter(([, value]) => typeof value === 'string'))
    for (const { property, problem } of findFieldProblems(texts, earlier))
      complain(['fields', index, property], problem)
    earlier.push(texts)
  }
}

/** What may not be stored in clear, beside the fields and the columns that are there. */
function checkClear(content: unknown, complain: Complain): void {
  const members = new Map(membersOf(content))
  const fields = entriesOf(members.get('fields')).map(entry => new Map(membersOf(entry)))
  const textsOf = (name: string) =>
    new Set(fields.map(field => field.get(name)).filter(value => typeof value === 'string'))
  const taken = { names: textsOf('name'), columns: textsOf('column') }
  const earlier: ClearTexts[] = []
  for (const [index, entry] of entriesOf(members.get('clear')).entries()) {
    const texts: ClearTexts = Object.fromEntries(membersOf(entry).filter(([, value]) => typeof value === 'string'))
    for (const { property, problem } of findClearProblems(texts, earlier, taken))
      complain(['clear', index, property], problem)
    earlier.push(texts)
  }
}
