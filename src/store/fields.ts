import { sql } from 'kysely'
import type { FieldRecordReader, FieldRecordWriter, RecordedField } from '../vault/fields/ports.ts'
import { describeChange, fieldChanged } from '../vault/fields/recorded-fields.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** For processes that compare their configuration with it. */
export function createFieldRecordReader(database: TokenvaultDatabase): FieldRecordReader {
  return { readRecordedFields: () => namingFailures(() => readRecordedFields(database)) }
}

/** For the owner. */
export function createFieldRecordWriter(database: TokenvaultDatabase): FieldRecordWriter {
  return {
    ...createFieldRecordReader(database),
    recordFields: fields => namingFailures(() => inTransaction(database, transaction => record(transaction, fields))),
  }
}

async function readRecordedFields(database: TokenvaultDatabase): Promise<RecordedField[]> {
  return database
    .selectFrom('pii_vault.fields')
    .select(['name', 'rule', 'format', 'inet_prefix as inetPrefix', 'derived_from as derivedFrom'])
    .orderBy('name')
    .execute()
}

/** @throws TokenvaultError `field_changed` */
async function record(transaction: TokenvaultDatabase, fields: readonly RecordedField[]): Promise<void> {
  // One migrator at a time; readers go on.
  await sql`lock table pii_vault.fields in share row exclusive mode`.execute(transaction)
  const recorded = new Map((await readRecordedFields(transaction)).map(field => [field.name, field]))
  const changes = new Map(
    fields.flatMap(field => {
      const known = recorded.get(field.name)
      const change = known && describeChange(field, known)
      return change === undefined ? [] : [[field.name, change] as const]
    }),
  )
  if (changes.size > 0) {
    // No worker adds the first original between this look and the commit.
    await sql`lock table pii_vault.originals in share mode`.execute(transaction)
    const used = await readUsed(transaction, [...changes.keys()])
    const refused = [...changes].flatMap(([name, change]) => (used.has(name) ? [change] : []))
    if (refused.length > 0) throw fieldChanged(refused)
  }
  for (const { name, rule, format, inetPrefix, derivedFrom } of fields) {
    if (recorded.has(name) && !changes.has(name)) continue
    await sql`
      insert into pii_vault.fields (name, rule, format, inet_prefix, derived_from)
      values (${name}, ${rule}, ${format}, ${inetPrefix}, ${derivedFrom})
      on conflict (name) do update set rule = excluded.rule, format = excluded.format, inet_prefix = excluded.inet_prefix,
        derived_from = excluded.derived_from, recorded_at = now()`.execute(transaction)
  }
}

/** The fields of which an original is stored. */
async function readUsed(transaction: TokenvaultDatabase, names: readonly string[]): Promise<ReadonlySet<string>> {
  const { rows } = await sql<{ name: string }>`
    select name from unnest(${names}::text[]) as name
    where exists (select from pii_vault.originals where originals.field = name)`.execute(transaction)
  return new Set(rows.map(({ name }) => name))
}
