import { inTransaction, namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'
import { checkAccess } from './access.ts'
import { checkDurability } from './durability.ts'
import type { SetupFinding } from './findings.ts'
import { checkRoleLimits } from './role-limits.ts'
import { checkServer } from './server.ts'
import { checkTokenColumns } from './token-columns.ts'

/**
 * Looks at everything that the product needs of server and database and changes nothing: version, encoding and settings
 * (`server_…`), schemas, functions, owners, grants and roles (`owner_…`, `grant_…`, `object_…`, `role_…`), and whether what
 * is committed survives crash and failover (`not_durable`).
 *
 * @param database of any role: the catalog is there for everybody to read
 * @returns one finding for each thing that is not as it should be, with what to do; none where all is well
 * @throws TokenvaultError `store_unavailable`, `store_misconfigured` where nothing can be asked at all
 */
export function inspectDatabase(database: TokenvaultDatabase): Promise<readonly SetupFinding[]> {
  return namingFailures(() =>
    inTransaction(database, async transaction => {
      const server = await checkServer(transaction)
      if (server.some(({ code }) => code === 'server_version')) return server
      const limits = await checkRoleLimits(transaction)
      const access = [...(await checkAccess(transaction)), ...limits, ...(await checkTokenColumns(transaction))]
      return [...server, ...access, ...(await checkDurability(transaction))]
    }),
  )
}

/** What a worker tells at its start: whether what it settles is sure to stay. @throws TokenvaultError `store_unavailable` */
export function inspectDurability(database: TokenvaultDatabase): Promise<readonly SetupFinding[]> {
  return namingFailures(() => inTransaction(database, checkDurability))
}
