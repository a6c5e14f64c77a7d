import { databaseUrl, type Environment, loadConfig } from '../../config/load.ts'
import { createDatabase, type TokenvaultDatabase } from '../../store/postgres/database.ts'
import { embeddedDatabaseUrl, fileVariables, readRunning } from './state.ts'

/** Reading and comparing everything there is; tables and logs grow for years. */
const statementTimeoutMilliseconds = 12 * 3600 * 1000

/** The database of an auditor's command, and where it was found. */
export interface AuditorDatabase {
  readonly database: TokenvaultDatabase
  /** That which names the database: the given one, or what `tokenvault up` gives. */
  readonly environment: Environment
  readonly isEmbedded: boolean
}

/**
 * Runs the work on the database that DATABASE_URL names or, without one, that of the `tokenvault up` on the directory, which
 * takes nothing from the shell.
 *
 * @param source.applicationName what Postgres calls the session
 * @throws TokenvaultError `config_invalid`, `store_unavailable`; whatever the work throws
 */
export async function withAuditorDatabase<T>(
  source: { readonly applicationName: string; readonly environment: Environment; readonly dataDir: string },
  work: (opened: AuditorDatabase) => Promise<T>,
): Promise<T> {
  const { applicationName, dataDir } = source
  const isNamed = source.environment['DATABASE_URL'] || source.environment['DATABASE_URL_FILE']
  const embedded = isNamed ? undefined : embeddedDatabaseUrl(dataDir, 'tokenvault_auditor')
  const environment =
    embedded === undefined
      ? source.environment
      : { ...fileVariables(readRunning(dataDir) ?? {}), DATABASE_URL: embedded }
  const url = databaseUrl(loadConfig('audit', environment))
  const database = createDatabase({ url, poolMax: 1, applicationName, statementTimeoutMilliseconds })
  try {
    return await work({ database, environment, isEmbedded: embedded !== undefined })
  } finally {
    await database.destroy()
  }
}
