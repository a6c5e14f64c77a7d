import { storeDatabaseUrl } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import { createOriginalWriter, createStoringHealth } from '../store/original-writer.ts'
import { createDatabase, type TokenvaultDatabase } from '../store/postgres/database.ts'
import type { HealthCheck } from '../vault/admission/ports.ts'
import type { OriginalWriter } from '../vault/tokens/ports.ts'

/** What the API stores values with. */
export interface Storing {
  readonly writer: OriginalWriter
  readonly health: HealthCheck
  close(): Promise<void>
}

/** Callers wait for an answer, and workers for the tokens that a transaction holds: neither should wait long. */
const statementTimeoutMilliseconds = 10_000

/**
 * Opens the database with the login of the role that stores.
 *
 * A login that is wrong, or leads to another database, is refused at once. One whose server is away is not: what reveals
 * values works without it, and storing begins when it is back.
 *
 * @param vault the database of DATABASE_URL
 * @returns undefined where STORE_DATABASE_URL is not set
 * @throws TokenvaultError `config_invalid`, `store_misconfigured`
 */
export async function openStoring(
  config: Config<'api'>,
  vault: TokenvaultDatabase,
  log: Log,
): Promise<Storing | undefined> {
  const url = storeDatabaseUrl(config)
  if (url === undefined) return undefined
  const database = createDatabase({
    url,
    urlName: 'STORE_DATABASE_URL',
    poolMax: config.DATABASE_POOL_MAX,
    applicationName: 'tokenvault api (storing)',
    statementTimeoutMilliseconds,
  })
  const health = createStoringHealth(database, vault)
  try {
    await health.check()
  } catch (err) {
    if (!(err instanceof TokenvaultError && err.code === 'store_unavailable')) {
      await database.destroy()
      throw err
    }
    log.warn({ event: 'storing_unavailable', err })
  }
  return { writer: createOriginalWriter(database, vault), health, close: () => database.destroy() }
}
