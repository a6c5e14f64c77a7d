import { createHash } from 'node:crypto'
import { sql } from 'kysely'
import { createAuditSearch } from '../src/store/audit-search.ts'
import type { Criteria } from '../src/vault/evidence/criteria.ts'
import { findEvents } from '../src/vault/evidence/find-events.ts'
import { openSetting } from './audit-search/setting.ts'

const searches = 40

/**
 * Makes a log, indexes it, and searches it: events indexed a second, MB of log and index, and milliseconds of a page of 100 (median,
 * and 95th percentile) by kind of search.
 *
 * @param options.events how large the log is; 10,000,000 take 20 GB of disk
 */
export async function benchAuditSearch({ events = '200000' } = {}): Promise<Record<string, number>> {
  return benchLog(Number(events))
}

async function benchLog(events: number): Promise<Record<string, number>> {
  const setting = await openSetting(events)
  try {
    const search = createAuditSearch(setting.database)
    const start = performance.now()
    await search.indexEvents()
    const indexed = (events * 1000) / (performance.now() - start)
    await sql`vacuum analyze pii_vault.audit_blocks`.execute(setting.database)
    const figures: Record<string, number> = {
      indexedASecond: indexed,
      logMB: (await setting.size('pii_vault.audit_log')) / 1e6,
      blocksMB: (await setting.size('pii_vault.audit_blocks')) / 1e6,
      keysMB: (await setting.size('pii_vault.audit_blocks_keys')) / 1e6,
    }
    for (const [name, criteriaOf] of Object.entries(kinds(events))) {
      const times: number[] = []
      let pages = 0
      for (let n = 0; n < searches; n++) {
        const begin = performance.now()
        let before: number | undefined
        do {
          before = (await findEvents(search, criteriaOf(n), before, 100)).next
          pages++
        } while (name.startsWith('all') && before !== undefined)
        times.push(performance.now() - begin)
      }
      times.sort((a, b) => a - b)
      figures[`${name}P50`] = times[Math.floor(searches / 2)]!
      figures[`${name}P95`] = times[Math.floor(searches * 0.95)]!
      if (pages > searches) figures[`${name}Pages`] = pages / searches
    }
    return figures
  } finally {
    await setting.close()
  }
}

/** Criteria of the nth search of each kind; see growLog for what the log holds. */
function kinds(events: number): Record<string, (n: number) => Criteria> {
  const day = (n: number) => Date.parse('2026-01-01') + ((n * 37) % 269) * 86_400_000
  return {
    token: n => ({ digests: [digestOf((n * 65_537) % 3_000_000)] }),
    value: n => ({ digests: [1, 2, 3, 4].map(version => digestOf((n * 65_537 + version) % 3_000_000)) }),
    tokenNever: n => ({ digests: [digestOf(3_000_000 + n)] }),
    rarePrincipal: n => ({ subject: `user-${199 - (n % 5)}` }),
    commonPurpose: () => ({ purpose: 'fraud_investigation' }),
    ticket: n => ({ ticket: `SEC-${100_000 + Math.floor((n * events) / searches / 5)}` }),
    principalAndPurpose: n => ({ subject: `user-${100 + n}`, purpose: 'audit', field: 'ip' }),
    // An actor acts for every third event, and actor 1 for none of the even ones.
    neverTogether: n => ({ subject: `user-${n}`, client: 'desk-0', actor: 'backend-1' }),
    subjectNever: n => ({ subject: `nobody-${n}` }),
    aDay: n => ({ from: day(n), to: day(n) + 86_400_000 }),
    principalOnADay: n => ({ subject: `user-${150 + n}`, from: day(n), to: day(n) + 86_400_000 }),
  }
}

function digestOf(token: number): string {
  const number = Buffer.alloc(8)
  number.writeBigInt64BE(BigInt(token))
  return createHash('sha256').update(number).digest('base64url').slice(0, 22)
}
