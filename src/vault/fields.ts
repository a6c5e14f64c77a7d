import { TokenvaultError } from '../errors.ts'
import { type NormalizationRule, normalizationRules } from './normalize.ts'

/** One field that the vault tokenizes. */
export interface Field {
  /** Name in events and in tokens: `ip`. */
  readonly name: string
  /** Versioned rule that its values are normalized by. */
  readonly rule: NormalizationRule
  /** Column of user_logins that holds its tokens. */
  readonly column: string
}

/** Longest normalized value, in UTF-8 bytes: its token then fits varchar(256) beside any field name of 32 letters. */
export const maxValueBytes = 140

// A name that held `_v<digits>` would make `<field>_v<version>_` readable in two ways.
const fieldName = /^(?!.*_v[0-9]+(_|$))[a-z][a-z0-9_]{0,31}$/

/** The configured fields by name; a Map, because the names that are looked up come from callers. */
export type FieldSchema = ReadonlyMap<string, Field>

/**
 * @param fields one entry a field; names, and columns, all different
 * @throws TokenvaultError `config_invalid` naming the entry that is wrong
 */
export function createFieldSchema(fields: readonly Field[]): FieldSchema {
  const schema = new Map<string, Field>()
  const columns = new Set<string>()
  for (const field of fields) {
    if (!fieldName.test(field.name))
      throw new TokenvaultError('config_invalid', `field name ${field.name} is not usable in a token`)
    if (!/^[a-z][a-z0-9_]{0,62}$/.test(field.column))
      throw new TokenvaultError('config_invalid', `field ${field.name}: column name is wrong`)
    if (!normalizationRules.has(field.rule))
      throw new TokenvaultError('config_invalid', `field ${field.name}: no rule ${field.rule}`)
    if (schema.has(field.name) || columns.has(field.column))
      throw new TokenvaultError('config_invalid', `field ${field.name} stands twice`)
    schema.set(field.name, Object.freeze({ ...field }))
    columns.add(field.column)
  }
  return schema
}

/** What tokenvault tokenizes unless told otherwise. */
export const loginFields: FieldSchema = createFieldSchema([
  { name: 'ip', rule: 'ip.v1', column: 'masked_ip' },
  { name: 'device_id', rule: 'device_id.v1', column: 'masked_device_id' },
])
