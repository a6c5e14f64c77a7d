import { privacyDatabaseUrl } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import { createSecondLoginHealth } from '../store/original-writer.ts'
import { createDatabase, type TokenvaultDatabase } from '../store/postgres/database.ts'

/** A person with a million rows takes seconds. */
const statementTimeoutMilliseconds = 60_000

/**
 * Opens the database with the login of the role that answers people, as openStoring does with that of the role that stores.
 *
 * @param vault the database of DATABASE_URL
 * @returns undefined where PRIVACY_DATABASE_URL is not set
 * @throws TokenvaultError `config_invalid`, `store_misconfigured`
 */
export async function openPeople(
  config: Config<'api'>,
  vault: TokenvaultDatabase,
  log: Log,
): Promise<TokenvaultDatabase | undefined> {
  const url = privacyDatabaseUrl(config)
  if (url === undefined) return undefined
  const database = createDatabase({
    url,
    urlName: 'PRIVACY_DATABASE_URL',
    poolMax: Math.min(4, config.DATABASE_POOL_MAX),
    applicationName: 'tokenvault api (people)',
    statementTimeoutMilliseconds,
  })
  try {
    await createSecondLoginHealth(database, vault, 'tokenvault_privacy', 'PRIVACY_DATABASE_URL').check()
  } catch (err) {
    if (!(err instanceof TokenvaultError && err.code === 'store_unavailable')) {
      await database.destroy()
      throw err
    }
    log.warn({ event: 'people_unavailable', err })
  }
  return database
}
