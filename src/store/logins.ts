import type { TokenvaultDatabase } from './postgres/database.ts'
import { namingFailures } from './postgres/errors.ts'
import type { UserLoginsTable } from './postgres/schema.ts'

/** Some rows as an analyst sees them, in the table's own column order. @throws TokenvaultError `store_unavailable` */
export function readLogins(database: TokenvaultDatabase, limit: number): Promise<UserLoginsTable[]> {
  return namingFailures(() => database.selectFrom('user_logins').selectAll().limit(limit).execute())
}
