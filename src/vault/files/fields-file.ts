import { type Static, Type } from 'typebox'
import { createFieldSchema, type FieldSchema, fieldShapes, findFieldProblems } from '../fields/fields.ts'
import { normalizationRules } from '../fields/rules/index.ts'
import { type Complain, entriesOf, membersOf, readYamlFile } from './yaml-file.ts'

const field = Type.Object(
  {
    name: Type.String({ ...fieldShapes.name, description: 'Name of the property in events, and in tokens: ip.' }),
    rule: Type.Enum([...normalizationRules.keys()], {
      description: 'Versioned rule that values are normalized by; docs/normalization.md has them all.',
    }),
    column: Type.String({ ...fieldShapes.column, description: 'Column of user_logins that holds the tokens.' }),
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
  },
  { additionalProperties: false, title: 'a field' },
)

/** The shape of FIELDS_FILE, published as docs/fields.schema.json. */
export const fieldsFileSchema = Type.Object(
  {
    version: Type.Literal(1, { description: 'Version of the shape of this file.' }),
    fields: Type.Array(field, {
      minItems: 1,
      description: 'The fields, in the order of the tokens of a row. Names, and columns, are all different.',
    }),
  },
  {
    additionalProperties: false,
    title: 'Fields of tokenvault',
    description:
      'Which fields of events are tokenized, by which rule, and where their tokens are stored (FIELDS_FILE).',
  },
)

/**
 * Reads the fields to tokenize from YAML 1.2 or JSON:
 *
 * ```yaml
 * version: 1
 * fields:
 *   - { name: ip, rule: ip.v1, column: masked_ip }
 *   - { name: device_id, rule: device_id.v1, column: masked_device_id, required: false, placeholders: ["0", test] }
 * ```
 *
 * Their order is that of the tokens of a row. Nothing is guessed: unknown keys, aliases and numbers for texts are refused.
 *
 * @throws TokenvaultError `config_invalid` with every problem by line and column. It quotes nothing of the text, which may be that of
 *   another file, given by mistake.
 */
export function parseFieldsFile(text: string): FieldSchema {
  const { content } = readYamlFile(text, {
    schema: fieldsFileSchema,
    code: 'config_invalid',
    name: 'FIELDS_FILE',
    check: checkFields,
  })
  return createFieldSchema(content.fields satisfies readonly Static<typeof field>[])
}

/** What a field may not be beside the others, and in user_logins. */
function checkFields(content: unknown, complain: Complain): void {
  const list = entriesOf(new Map(membersOf(content)).get('fields'))
  const earlier: Record<'name' | 'rule' | 'column', string>[] = []
  for (const [index, entry] of list.entries()) {
    const texts = new Map(
      membersOf(entry).filter((member): member is [string, string] => typeof member[1] === 'string'),
    )
    const read = { name: texts.get('name') ?? '', rule: texts.get('rule') ?? '', column: texts.get('column') ?? '' }
    for (const { property, problem } of findFieldProblems(read, earlier))
      if (texts.has(property)) complain(['fields', index, property], problem)
    earlier.push(read)
  }
}
