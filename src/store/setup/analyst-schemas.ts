import { sql } from 'kysely'
import { TokenvaultError } from '../../errors.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'

/** Schemas of this product, and of Postgres; also in other letters, which would only be mistaken for them. */
const reservedNames = /^(public|ingest|pii_vault|analyst|information_schema|tokenvault_.*|pg_.*)$/i

/** What Postgres keeps of a name; a longer one would silently become another. */
const longestNameBytes = 63

/**
 * Makes schemas in which the analysts' role may create tables, views and functions of its own, such as those of dbt. It
 * gets no other right by them: the schema belongs to tokenvault_owner, which can drop it with all that is in it, and
 * nobody else may look into it. What is there and ours stays as it is.
 *
 * @param database a connection that may act as tokenvault_owner
 * @throws TokenvaultError `usage` for names that are taken or no names; `store_unavailable`, `store_misconfigured`
 */
export async function createAnalystSchemas(database: TokenvaultDatabase, names: readonly string[]): Promise<void> {
  checkAnalystSchemas(names)
  if (names.length === 0) return
  await namingFailures(() =>
    database
      .transaction()
      .setIsolationLevel('read committed')
      .execute(async transaction => {
        // Of two migrators that create a schema at once, the later would meet the unique name.
        await sql`select pg_advisory_xact_lock(hashtextextended('tokenvault/migrate', 0))`.execute(transaction)
        await sql`set local role tokenvault_owner`.execute(transaction)
        for (const name of new Set(names)) await createSchema(transaction, name)
      }),
  )
}

async function createSchema(transaction: TokenvaultDatabase, name: string): Promise<void> {
  const { rows } = await sql<{ isOurs: boolean }>`
    select nspowner = 'tokenvault_owner'::regrole as "isOurs" from pg_namespace where nspname = ${name}`.execute(
    transaction,
  )
  const schema = sql.id(name)
  if (rows[0]?.isOurs === false)
    throw new TokenvaultError(
      'usage',
      '--analyst-schema names a schema that belongs to another role; choose another name',
    )
  if (rows[0] === undefined) await sql`create schema ${schema}`.execute(transaction)
  await sql`grant usage, create on schema ${schema} to tokenvault_analyst`.execute(transaction)
  await sql`comment on schema ${schema} is 'Tables and views that analysts make; tokenvault reads nothing here.'`.execute(
    transaction,
  )
}

/** For before anything is done. @throws TokenvaultError `usage`, which does not repeat the name */
export function checkAnalystSchemas(names: readonly string[]): void {
  for (const name of names) checkName(name)
}

function checkName(name: string): void {
  const refuse = (problem: string) => new TokenvaultError('usage', `--analyst-schema ${problem}`)
  if (name === '' || name.includes('\0')) throw refuse('is empty, or not a name')
  if (Buffer.byteLength(name) > longestNameBytes) throw refuse(`is longer than ${longestNameBytes} bytes`)
  if (reservedNames.test(name)) throw refuse('names a schema that tokenvault or Postgres uses itself')
}
