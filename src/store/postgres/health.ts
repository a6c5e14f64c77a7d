import { sql } from 'kysely'
import { TokenvaultError } from '../../errors.ts'
import type { HealthCheck } from '../../vault/admission/ports.ts'
import { readExpectedFacts } from '../setup/catalog.ts'
import type { LoginRole } from '../setup/role-passwords.ts'
import { namingFailures, type TokenvaultDatabase } from './database.ts'

/**
 * Checks that who is logged in may do all that a role of ours has to: what the migrations grant to the role. It need not be
 * that role itself.
 *
 * @throws TokenvaultError `store_misconfigured` naming what is missing, `store_unavailable`
 */
export async function checkRights(database: TokenvaultDatabase, role: LoginRole): Promise<void> {
  const missing = await namingFailures(async () => {
    const { rows } = await readMissing(role).execute(database)
    return rows.map(({ object }) => object)
  })
  refuseWhatIsMissing(missing)
}

/**
 * Whether the database can do what the API asks of it: it takes writes, since no value is given out without an event; every
 * function and table that is needed is there and granted; and keys can be read.
 *
 * `check` throws TokenvaultError `store_unavailable` or `store_misconfigured`, with what is wrong as its detail.
 */
export function createApiHealth(database: TokenvaultDatabase): HealthCheck {
  return {
    check: () =>
      namingFailures(async () => {
        await checkRights(database, 'tokenvault_api')
        const { rows } = await sql<{ takes_writes: boolean; has_key: boolean }>`
          select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off' as takes_writes,
            exists (select * from pii_vault.keys) as has_key`.execute(database)
        const { takes_writes: takesWrites, has_key: hasKey } = rows[0]!
        if (!takesWrites)
          throw new TokenvaultError('store_unavailable', 'the server takes no writes: it is a standby, or read-only')
        if (!hasKey) throw new TokenvaultError('store_misconfigured', 'no key is stored')
      }),
  }
}

/** Objects that are missing, or on which a privilege is; of a schema that may not be used, nothing but its name. */
function readMissing(role: LoginRole) {
  const needs = readExpectedFacts().flatMap(({ what, on, is, to }) => {
    if (what !== 'grant' || to !== role || on === 'DATABASE') return []
    const [, kind, name] = /^(\w+) (.+)$/.exec(on)!
    const [, privilege, column] = /^(\w+)(?: \((.+)\))?$/.exec(is)!
    return [{ kind, name, privilege, column: column ?? null }]
  })
  return sql<{ object: string }>`
    with need as (
      select kind, name, privilege, "column", split_part(name, '.', 1) as home
      from jsonb_to_recordset(${JSON.stringify(needs)}::jsonb) as need (kind text, name text, privilege text, "column" text)),
    usable as (
      select home, coalesce(has_schema_privilege(to_regnamespace(home), 'usage'), false) as may_use from need group by home)
    select distinct lower(kind) || ' ' || name as object from need join usable using (home)
    where case
      when kind = 'SCHEMA' then not may_use
      when not may_use then false
      when kind = 'FUNCTION' then not coalesce(has_function_privilege(to_regprocedure(name), privilege), false)
      when "column" is null then not coalesce(has_table_privilege(to_regclass(name), privilege), false)
      when to_regclass(name) is null then true
      else not coalesce(
        (select has_column_privilege(attrelid, attnum, privilege) from pg_attribute
          where attrelid = to_regclass(name) and attname = "column" and not attisdropped), false)
    end
    order by 1`
}

function refuseWhatIsMissing(missing: readonly string[]): void {
  if (missing.length === 0) return
  throw new TokenvaultError('store_misconfigured', `missing, or not granted to the role: ${missing.join(', ')}`)
}
