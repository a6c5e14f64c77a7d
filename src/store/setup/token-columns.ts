import { sql } from 'kysely'
import { quote } from '../columns/find-table.ts'
import {
  findUnreadable,
  mendStatement,
  readTokenColumns,
  regrantTokenColumns,
  type Unreadable,
} from '../columns/registry.ts'
import type { TokenvaultDatabase } from '../postgres/database.ts'
import type { Mended } from './access.ts'
import type { SetupFinding } from './findings.ts'

const says: Readonly<Record<Unreadable, string>> = {
  gone: 'is not there any more',
  'not a table': 'is not of a table any more',
  'not granted': 'may not be read by tokenvault_auditor',
  'rows hidden': 'is of a table whose policies may hide rows from tokenvault_auditor',
}

/**
 * Looks whether the auditor can read each column that `tokenvault backfill` entered. Who may not read their list learns
 * nothing.
 */
export async function checkTokenColumns(transaction: TokenvaultDatabase): Promise<readonly SetupFinding[]> {
  if (!(await mayRead(transaction))) return []
  const findings: SetupFinding[] = []
  for (const entry of await readTokenColumns(transaction)) {
    const problem = await findUnreadable(transaction, entry)
    if (problem === undefined) continue
    const { schema, table, column } = entry
    const forget = 'if that is meant, take it out by `tokenvault backfill --forget`'
    const isMendable = problem === 'not granted' || problem === 'rows hidden'
    findings.push({
      code: isMendable ? 'grant_missing' : 'object_missing',
      status: 'warn',
      says: `column ${quote(column)} of ${quote(schema)}.${quote(table)}, which holds tokens, ${says[problem]}`,
      remedy: isMendable ? `as the owner of the table: ${mendStatement(entry, problem)}` : forget,
    })
  }
  return findings
}

/** Gives the auditor the columns back that it lost, where who migrates may grant them. */
export async function mendTokenColumns(transaction: TokenvaultDatabase): Promise<Mended> {
  const statements = (await mayRead(transaction)) ? await regrantTokenColumns(transaction) : []
  return { statements, findings: await checkTokenColumns(transaction) }
}

/** Only the owner and the auditor may. */
async function mayRead(transaction: TokenvaultDatabase): Promise<boolean> {
  const { rows } = await sql<{ may: boolean }>`
    select coalesce(has_schema_privilege(to_regnamespace('pii_vault'), 'usage')
      and has_table_privilege(to_regclass('pii_vault.token_columns'), 'select'), false) as may`.execute(transaction)
  return rows[0]!.may
}
