import { sql } from 'kysely'
import { TokenvaultError } from '../../errors.ts'
import type { HealthCheck } from '../../vault/admission/ports.ts'
import { namingFailures, type TokenvaultDatabase } from './database.ts'

/** What the API calls and reads; a test compares it with what `tokenvault migrate` grants to its role. */
export const apiNeeds = {
  functions: [
    'pii_vault.admit_actions(jsonb)',
    'pii_vault.append_audit(bytea[])',
    'pii_vault.claim_idempotency(text,text,text,text)',
    'pii_vault.commit_plain_actions(jsonb,bytea[])',
    'pii_vault.complete_idempotency(text,text,text,integer,text)',
    'pii_vault.discard_quarantined(uuid[])',
    'pii_vault.index_audit(integer)',
    'pii_vault.insert_checkpoint(bigint,text)',
    'pii_vault.principal_id(text,text)',
    'pii_vault.release_idempotency(text,text,text)',
    'pii_vault.request_redrive(uuid[])',
  ],
  readableTables: [
    'pii_vault.approvals',
    'pii_vault.audit_head',
    'pii_vault.audit_log',
    'pii_vault.audit_subtrees',
    'pii_vault.audit_tokens',
    'pii_vault.checkpoints',
    'pii_vault.keys',
    'pii_vault.originals',
    'pii_vault.quarantine',
    'pii_vault.suspensions',
  ],
} as const

interface Answer {
  readonly takesWrites: boolean
  readonly missing: readonly string[]
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
        const { rows } = await sql<Answer>`
          select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off' as "takesWrites",
            array(
              select 'function ' || name from unnest(${apiNeeds.functions}::text[]) as name
              where not coalesce(has_function_privilege(to_regprocedure(name), 'execute'), false)
              union all
              select 'table ' || name from unnest(${apiNeeds.readableTables}::text[]) as name
              where not coalesce(has_table_privilege(to_regclass(name), 'select'), false)
            ) as missing`.execute(database)
        refuseWhatIsMissing(rows[0]!)
        const keys = await sql<{ found: boolean }>`
          select count(*) > 0 as found from (select from pii_vault.keys limit 1) as key`.execute(database)
        if (!keys.rows[0]!.found) throw new TokenvaultError('store_misconfigured', 'no key is stored')
      }),
  }
}

function refuseWhatIsMissing({ takesWrites, missing }: Answer): void {
  if (missing.length > 0)
    throw new TokenvaultError('store_misconfigured', `missing, or not granted to the role: ${missing.join(', ')}`)
  if (!takesWrites)
    throw new TokenvaultError('store_unavailable', 'the server takes no writes: it is a standby, or read-only')
}
