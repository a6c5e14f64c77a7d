import { type Environment, loadConfig } from '../../config/load.ts'
import { createAuditReader } from '../../store/audit-reader.ts'
import { createDatabase } from '../../store/postgres/database.ts'
import type { AuditReader } from '../../vault/evidence/ports.ts'
import { embeddedDatabaseUrl } from './state.ts'

/** Reading and comparing everything there is; logs grow for years. */
const statementTimeoutMilliseconds = 12 * 3600 * 1000

/**
 * Runs the work on the audit log that DATABASE_URL names or, without one, that of the `tokenvault up` on the directory.
 *
 * @throws TokenvaultError `config_invalid`, `store_unavailable`; whatever the work throws
 */
export async function withAuditReader<T>(
  environment: Environment,
  dataDir: string,
  work: (reader: AuditReader, isEmbedded: boolean) => Promise<T>,
): Promise<T> {
  const isNamed = environment['DATABASE_URL'] || environment['DATABASE_URL_FILE']
  const embedded = isNamed ? undefined : embeddedDatabaseUrl(dataDir, 'tokenvault_auditor')
  const { DATABASE_URL: url } = loadConfig('audit', embedded === undefined ? environment : { DATABASE_URL: embedded })
  const database = createDatabase({
    url,
    poolMax: 1,
    applicationName: 'tokenvault audit',
    statementTimeoutMilliseconds,
  })
  try {
    return await work(createAuditReader(database), embedded !== undefined)
  } finally {
    await database.destroy()
  }
}
