import { Kysely, PostgresDialect } from 'kysely'
import type { Client } from 'pg'
import { parseConnectionUrl } from './connection-url.ts'
import { dayTypes, type TokenvaultDatabase } from './database.ts'
import type { Database } from './schema.ts'
import { openClient } from './session.ts'

/** One connection, on which rows pass by COPY within the transactions of `database`. */
export interface CopySession {
  readonly client: Client
  readonly database: TokenvaultDatabase
  /** Ends the connection at once, with whatever is open on it. */
  close(): void
}

/** @throws what pg throws where the server cannot be reached */
export async function openCopySession(url: () => string, applicationName: string): Promise<CopySession> {
  const settings = {
    application_name: applicationName,
    statement_timeout: 3_600_000,
    idle_in_transaction_session_timeout: 0,
    keepAlive: true,
    types: dayTypes,
  }
  const client = await openClient(parseConnectionUrl(url()), settings, () => true)
  // One that breaks says so to its statement; unheard, its event would end the process.
  client.on('error', () => {})
  // Text of values that does not depend on settings of the server or the login; compiling costs more than it saves here.
  await client.query(`set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres';
    set extra_float_digits = 1; set bytea_output = 'hex'; set jit = off`)
  const query = (text: string, parameters: readonly unknown[]) => client.query(text, [...parameters])
  const pool = { connect: async () => ({ query, release: () => {} }), end: async () => {}, options: {} }
  const database = new Kysely<Database>({ dialect: new PostgresDialect({ pool: pool as never }) })
  return { client, database, close: () => client.connection.stream.destroy() }
}
