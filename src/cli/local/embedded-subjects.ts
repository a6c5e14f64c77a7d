import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Given } from '../../compose/doctor/subjects.ts'
import { embeddedIssuer } from '../../embedded/issuer.ts'
import { developmentAudience, embeddedDatabaseUrl, orEmbedded, readRunning } from './state.ts'

/**
 * The processes and people of the `tokenvault up` on the directory, each with the environment that it has there.
 *
 * @returns undefined where none ever ran there
 */
export function embeddedSubjects(dataDir: string): readonly Given[] | undefined {
  const { jwksUrl } = readRunning(dataDir) ?? {}
  const analystUrl = embeddedDatabaseUrl(dataDir, 'tokenvault_analyst')
  if (jwksUrl === undefined || analystUrl === undefined) return undefined
  const worker = orEmbedded({}, dataDir)
  const { KEK_FILE, FIELDS_FILE, POLICY_FILE } = worker
  const api = {
    DATABASE_URL: embeddedDatabaseUrl(dataDir, 'tokenvault_api'),
    STORE_DATABASE_URL: embeddedDatabaseUrl(dataDir, 'tokenvault_store'),
    PRIVACY_DATABASE_URL: embeddedDatabaseUrl(dataDir, 'tokenvault_privacy'),
    KEK_FILE,
    FIELDS_FILE,
    POLICY_FILE,
    JWT_ISSUER: embeddedIssuer,
    JWT_AUDIENCE: developmentAudience,
    JWKS_URL: jwksUrl,
    CHECKPOINT_URL: `${pathToFileURL(resolve(dataDir, 'checkpoints'))}/`,
  }
  return [
    { name: 'worker', environment: worker },
    { name: 'api', environment: api },
    { name: 'auditor', environment: { DATABASE_URL: embeddedDatabaseUrl(dataDir, 'tokenvault_auditor'), FIELDS_FILE } },
    { name: 'analyst', environment: { DATABASE_URL: analystUrl } },
  ]
}
