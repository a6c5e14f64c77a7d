import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Environment, loadConfig } from '../../config/load.ts'
import { createAuditReader } from '../../store/audit-reader.ts'
import { createDatabase } from '../../store/postgres/database.ts'
import type { AuditReader } from '../../vault/evidence/ports.ts'
import { readRunning } from './state.ts'

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
  const embedded = environment['DATABASE_URL'] || environment['DATABASE_URL_FILE'] ? undefined : embeddedUrl(dataDir)
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

/** @returns undefined where `tokenvault up` never ran on the directory */
function embeddedUrl(dataDir: string): string | undefined {
  const { databaseUrl } = readRunning(dataDir) ?? {}
  if (databaseUrl === undefined) return undefined
  const url = new URL(databaseUrl)
  url.username = 'tokenvault_auditor'
  url.password = readFileSync(join(dataDir, 'passwords', url.username), 'utf8').trim()
  return url.href
}
