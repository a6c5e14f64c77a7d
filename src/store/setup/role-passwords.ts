import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { sql } from 'kysely'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'

/** The roles that log in. */
export const loginRoles = [
  'tokenvault_worker',
  'tokenvault_api',
  'tokenvault_store',
  'tokenvault_privacy',
  'tokenvault_analyst',
  'tokenvault_auditor',
] as const
export type LoginRole = (typeof loginRoles)[number]

/**
 * Sets passwords of login roles. The server gets SCRAM verifiers only, so no password can stand in its log.
 *
 * @throws TokenvaultError `store_unavailable`
 */
export async function setRolePasswords(
  database: TokenvaultDatabase,
  passwords: ReadonlyMap<LoginRole, string>,
): Promise<void> {
  await namingFailures(() =>
    database.transaction().execute(async transaction => {
      // Postgres refuses to change one role twice at the same time.
      await sql`select pg_advisory_xact_lock(hashtextextended('tokenvault/role_passwords', 0))`.execute(transaction)
      for (const [role, password] of passwords) {
        await sql`alter role ${sql.id(role)} password ${sql.lit(scramVerifier(password))}`.execute(transaction)
      }
    }),
  )
}

/** SCRAM-SHA-256 verifier (RFC 5803; RFC 7677, 3) in Postgres's form. Passwords are ASCII, so SASLprep changes nothing. */
export function scramVerifier(password: string, salt: Buffer = randomBytes(16), iterations = 4096): string {
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  const storedKey = createHash('sha256')
    .update(createHmac('sha256', salted).update('Client Key').digest())
    .digest('base64')
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`
}
