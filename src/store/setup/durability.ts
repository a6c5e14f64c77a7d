import { sql } from 'kysely'
import type { TokenvaultDatabase } from '../postgres/database.ts'
import type { SetupFinding } from './findings.ts'
import { readSettings, type Setting } from './server.ts'

/**
 * Looks whether what was committed survives a crash of the server and a failover: a message is deleted from the queue once
 * it is committed, and cannot be had again. Any role may ask. All that is found is a warning, because some servers keep
 * the promise by other means.
 */
export async function checkDurability(transaction: TokenvaultDatabase): Promise<readonly SetupFinding[]> {
  const settings = await readSettings(transaction, [
    'fsync',
    'full_page_writes',
    'synchronous_commit',
    'synchronous_standby_names',
  ])
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from pg_stat_replication as sender where state is distinct from 'backup'
      and not exists (select from pg_replication_slots where active_pid = sender.pid and slot_type = 'logical')`.execute(
    transaction,
  )
  return describeDurability(settings, rows[0]!.count)
}

/** @param standbys how many servers receive what this one writes */
export function describeDurability(settings: readonly Setting[], standbys: number): readonly SetupFinding[] {
  const current = (name: string) => settings.find(setting => setting.name === name && setting.place === '')?.value
  const findings: SetupFinding[] = []
  const warn = (says: string, remedy: string) => findings.push({ code: 'not_durable', status: 'warn', says, remedy })
  if (current('fsync') === 'off')
    warn('fsync is off: a crash of the server loses or damages what was stored', 'set fsync to on')
  if (current('full_page_writes') === 'off')
    warn(
      'full_page_writes is off: a crash can leave half a page of a table or of the evidence',
      'set full_page_writes to on, unless the file system writes whole pages',
    )
  const hasNames = (current('synchronous_standby_names') ?? '') !== ''
  for (const { value, place } of settings.filter(({ name }) => name === 'synchronous_commit')) {
    // The functions that write evidence raise it by themselves; the worker's statements do not.
    if (/ tokenvault_(api|auditor)\b/.test(place)) continue
    const says = `synchronous_commit is ${value}${place}`
    if (value === 'off')
      warn(`${says}: a crash of the server loses messages that were settled`, 'set synchronous_commit to on')
    else if (hasNames && value === 'local')
      warn(`${says}: a failover loses messages that were settled`, 'set synchronous_commit to on')
    else if (hasNames && value === 'remote_write')
      warn(`${says}: a crash of both servers loses messages that were settled`, 'set synchronous_commit to on')
  }
  if (standbys > 0 && !hasNames)
    warn(
      `${standbys === 1 ? 'a standby is' : `${standbys} standbys are`} attached and none is synchronous: a failover loses messages that were settled`,
      'name them in synchronous_standby_names; docs/production.md says how',
    )
  return findings
}
