import { TokenvaultError } from '../../errors.ts'
import type { Field, FieldSchema } from './fields.ts'
import type { RecordedField } from './ports.ts'

/** What is recorded of a field. Its column, placeholders and whether it is required may change at any time. */
export function describeField({ name, rule, format, inetPrefix, derivedFrom }: Field): RecordedField {
  return {
    ...{ name, rule, format },
    inetPrefix: format === 'inet' ? inetPrefix : null,
    derivedFrom: derivedFrom ?? null,
  }
}

/** The properties as FIELDS_FILE names them. */
const properties = [
  ['rule', ({ rule }: RecordedField) => rule],
  ['format', ({ format }: RecordedField) => format],
  ['inet_prefix', ({ inetPrefix }: RecordedField) => inetPrefix ?? 'none'],
  ['from', ({ derivedFrom }: RecordedField) => derivedFrom ?? 'none'],
] as const

/** @returns what differs, in words; undefined where nothing does */
export function describeChange(configured: RecordedField, recorded: RecordedField): string | undefined {
  const changes = properties.flatMap(([property, textOf]) => {
    const [now, then] = [textOf(configured), textOf(recorded)]
    return now === then ? [] : [`${property} is ${now} and was ${then}`]
  })
  return changes.length === 0 ? undefined : `field ${configured.name}: ${changes.join(', ')}`
}

/** @param changes as describeChange gives them */
export function fieldChanged(changes: readonly string[]): TokenvaultError {
  return new TokenvaultError('field_changed', `${changes.join('; ')} when its tokens were made`)
}

/**
 * For every process that makes or opens tokens, before it does.
 *
 * @param explainNew throws what is wrong with a field that is not recorded, where that is more than that
 * @throws TokenvaultError `field_changed` naming each field and what differs; `store_misconfigured` for one that is not recorded
 */
export function checkRecordedFields(
  fields: FieldSchema,
  recorded: readonly RecordedField[],
  explainNew: (name: string) => void = () => {},
): void {
  const byName = new Map(recorded.map(field => [field.name, field]))
  const changes = [...fields.values()].flatMap(field => {
    const known = byName.get(field.name)
    return (known && describeChange(describeField(field), known)) ?? []
  })
  if (changes.length > 0) throw fieldChanged(changes)
  for (const name of fields.keys()) {
    if (byName.has(name)) continue
    explainNew(name)
    throw new TokenvaultError('store_misconfigured', `field ${name} is not recorded yet: run \`tokenvault migrate\``)
  }
}
