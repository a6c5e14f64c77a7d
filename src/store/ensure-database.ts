import { sql } from 'kysely'
import { createDatabase } from './database.ts'
import { namingFailures } from './failure.ts'

/**
 * Creates a database of the server where it is missing.
 *
 * @param adminUrl URL of a role that may create databases
 * @returns the URL of the same role for that database
 * @throws TokenvaultError `store_unavailable`
 */
export async function ensureDatabase(adminUrl: string, name: string): Promise<string> {
  const database = createDatabase({ url: adminUrl, poolMax: 1, applicationName: 'tokenvault' })
  try {
    await namingFailures(async () => {
      const { rows } = await sql`select from pg_database where datname = ${name}`.execute(database)
      if (rows.length === 0) await sql`create database ${sql.id(name)}`.execute(database)
    })
  } finally {
    await database.destroy()
  }
  const url = new URL(adminUrl)
  url.pathname = `/${name}`
  return url.href
}
