import { sql } from 'kysely'
import { createDatabase, namingFailures } from '../postgres/database.ts'

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
      if (rows.length > 0) return
      await sql`create database ${sql.id(name)}`.execute(database).catch(error => {
        // Made by another process since: duplicate_database, or unique_violation when at the very same time.
        if (error.code !== '42P04' && error.code !== '23505') throw error
      })
    })
  } finally {
    await database.destroy()
  }
  const url = new URL(adminUrl)
  url.pathname = `/${name}`
  return url.href
}
