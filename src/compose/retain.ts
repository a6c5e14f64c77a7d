import { TokenvaultError } from '../errors.ts'
import { createMonthLock } from '../store/archives.ts'
import { createHoldReader } from '../store/people/holds.ts'
import type { TokenvaultDatabase } from '../store/postgres/database.ts'
import { createMonthStore, type MonthStore } from '../store/retention/months.ts'
import {
  createExpiringStore,
  type ExpiringField,
  type ExpiringStore,
  type TokenPlace,
} from '../store/retention/originals.ts'
import { createAgedStore } from '../store/retention/requests.ts'
import type { RetentionEventType } from '../vault/admission/ports.ts'
import type { Field, FieldSchema } from '../vault/fields/fields.ts'
import type { Retention } from '../vault/files/retention-section.ts'
import type { FieldKeys } from '../vault/keys/field-keys.ts'
import { personKeys } from '../vault/people/person.ts'
import { describeRetentionEvent, planRetention } from '../vault/people/retention.ts'

/** What a run removed, or would remove. */
export interface Retained {
  readonly months: readonly {
    readonly month: string
    readonly rows: number
    readonly afterwards: 'archived' | 'dropped'
  }[]
  /** Months in which rows of people under a legal hold stay. */
  readonly heldMonths: readonly string[]
  readonly originals: Readonly<Record<string, number>>
  readonly quarantined: number
  readonly approvals: number
  /** Whether bodies of the quarantine stayed because somebody is under a legal hold: who a body is about is not known. */
  readonly quarantineHeld: boolean
}

export interface RetainOptions {
  readonly database: TokenvaultDatabase
  readonly keys: FieldKeys
  readonly fields: FieldSchema
  readonly retention: Retention
  readonly today: Date
  /** Nothing is removed, only counted. */
  readonly isTrial: boolean
  readonly signal: AbortSignal
  /** Moves a month to files; needed where the retention archives. @returns its rows */
  readonly archive: (month: string, target: string) => Promise<number>
  /** Is told what was looked at since it was told last. */
  readonly onProgress: (count: number) => void
}

/** Originals in one transaction: whoever stores rows waits for it. */
const originalsAtOnce = 1000
/** Candidates that are looked at together. */
const candidatesAtOnce = 5000

interface Run extends RetainOptions {
  readonly months: MonthStore
  readonly describe: (
    type: RetentionEventType,
    more?: { readonly field?: string; readonly month?: string },
  ) => (count: number) => ReturnType<typeof describeRetentionEvent>
  /** User ids of people under a legal hold, of those that have rows. */
  readonly held: readonly string[]
}

/**
 * Removes what is older than the retention says: rows by month, then originals, bodies and requests. What was removed is committed
 * with its event, so it can be stopped and killed at any point, and run again.
 *
 * @throws TokenvaultError `retention_running` where another one is at work, `store_unavailable`, as archiveMonth
 */
export function retain(options: RetainOptions): Promise<Retained> {
  const { database, fields, retention, today, isTrial, signal } = options
  const archives = createMonthLock(database)
  // An archive and this take out the same months.
  return archives.holding(async () => {
    const login = await archives.readLogin()
    const months = createMonthStore(database)
    const describe: Run['describe'] =
      (type, more = {}) =>
      count =>
        describeRetentionEvent(type, count, { login, at: new Date(), ...more })
    const holds = await createHoldReader(database).readHeld()
    const held = holds.size === 0 ? [] : await findHeld(options.keys, months, holds)
    const run: Run = { ...options, months, describe, held }
    const plan = planRetention(retention, fields, today)

    const done =
      plan.firstMonth === undefined ? noMonths : await retainMonths(run, await archives.monthsBefore(plan.firstMonth))
    const originals: [string, number][] = []
    for (const { field, before } of plan.originals) originals.push([field, await expire(run, field, before)])
    const aged = createAgedStore(database)
    const { quarantinedBefore, approvalsBefore } = plan
    const isQuarantineHeld = quarantinedBefore !== undefined && holds.size > 0
    const bodies = quarantinedBefore === undefined || isQuarantineHeld ? undefined : quarantinedBefore
    const all = async (remove: () => Promise<number>) => {
      let total = 0
      for (let count = -1; count !== 0 && !signal.aborted; total += count) count = await remove()
      return total
    }
    const quarantined =
      bodies === undefined
        ? 0
        : isTrial
          ? await aged.countQuarantined(bodies)
          : await all(() => aged.eraseQuarantined(bodies, describe('retain_quarantine')))
    const approvals =
      approvalsBefore === undefined
        ? 0
        : isTrial
          ? await aged.countApprovals(approvalsBefore)
          : await all(() => aged.deleteApprovals(approvalsBefore, describe('retain_approvals')))
    if (!isTrial) await aged.deleteOver()
    return {
      ...done,
      originals: Object.fromEntries(originals),
      quarantined,
      approvals,
      quarantineHeld: isQuarantineHeld,
    }
  })
}

const noMonths: Pick<Retained, 'months' | 'heldMonths'> = { months: [], heldMonths: [] }

async function findHeld(
  keys: FieldKeys,
  months: MonthStore,
  holds: ReadonlySet<string>,
  month?: string,
): Promise<string[]> {
  const held: string[] = []
  for await (const users of months.readUsers(month)) {
    for (const [index, key] of personKeys(keys, users).entries()) if (holds.has(key)) held.push(users[index]!)
  }
  return held
}

async function retainMonths(run: Run, old: readonly string[]): Promise<Pick<Retained, 'months' | 'heldMonths'>> {
  const { retention, months, held, isTrial, signal, fields, describe, archive, onProgress } = run
  const done: Retained['months'][number][] = []
  const heldMonths: string[] = []
  for (const month of old) {
    if (signal.aborted) break
    const { logins } = retention
    if (logins?.afterwards === 'archive') {
      const rows = isTrial ? await months.countRows(month) : await archive(month, logins.to)
      done.push({ month, rows, afterwards: 'archived' })
      continue
    }
    const heldHere = held.length === 0 ? [] : await usersOf(months, month, new Set(held))
    if (heldHere.length > 0) heldMonths.push(month)
    if (isTrial) {
      done.push({ month, rows: await months.countRows(month), afterwards: 'dropped' })
      continue
    }
    // Before the rows are gone: without them nobody knows when their values were seen.
    for (const name of retention.originals.keys())
      await months.noteSeen(month, name, placeOf(fields, fields.get(name)!), fields.get(name)!.format)
    let rows = 0
    const event = describe('retain_logins', { month })
    if (heldHere.length === 0) rows = await months.drop(month, event)
    else
      for (let count = -1; count !== 0 && !signal.aborted; rows += count)
        count = await months.deleteOthers(month, heldHere, event)
    onProgress(rows)
    // Where all that is left is of people who are held, there is nothing to tell again.
    if (rows > 0 || heldHere.length === 0) done.push({ month, rows, afterwards: 'dropped' })
  }
  return { months: done, heldMonths }
}

async function usersOf(months: MonthStore, month: string, held: ReadonlySet<string>): Promise<string[]> {
  const found: string[] = []
  for await (const users of months.readUsers(month)) found.push(...users.filter(user => held.has(user)))
  return found
}

async function expire(run: Run, field: string, before: string): Promise<number> {
  const { database, fields, keys, held, isTrial, signal, describe, onProgress } = run
  const store: ExpiringStore = createExpiringStore(database)
  const expiring: ExpiringField = { field, before, held, place: placeOf(fields, fields.get(field)!) }
  const event = describe('retain_originals', { field })
  let total = 0
  for (let after: string | undefined; !signal.aborted; ) {
    const page = await store.readCandidates(expiring, { after, limit: candidatesAtOnce })
    after = page.at(-1)?.tokenId
    if (after === undefined) break
    const candidates = [...Map.groupBy(page, ({ tokenKeyVersion }) => tokenKeyVersion)].flatMap(
      ([version, members]) => {
        const tokenKey = keys.tokenKey(field, version)
        // Which rows hold its token cannot be told, so it stays.
        if (tokenKey === undefined) return []
        const tokens = tokenKey.tokensOfIds(
          members.map(({ tokenId }) => tokenId),
          fields.get(field)!,
        )
        return members.map(({ tokenId }, index) => ({ tokenId, token: tokens[index]! }))
      },
    )
    const unseen = await store.findUnseen(expiring, candidates)
    for (let start = 0; start < unseen.length && !signal.aborted; start += originalsAtOnce) {
      const some = unseen.slice(start, start + originalsAtOnce)
      total += isTrial ? some.length : await store.expire(expiring, some, event)
    }
    onProgress(page.length)
  }
  return total
}

/** @throws TokenvaultError `internal` for a field that stands nowhere */
function placeOf(fields: FieldSchema, field: Field): TokenPlace {
  const columnOf = (one: Field | undefined) => (one !== undefined && 'column' in one ? String(one.column) : undefined)
  const column = columnOf(field)
  if (column !== undefined) return { kind: 'column', column }
  const addressColumn = 'derivedFrom' in field ? columnOf(fields.get(String(field.derivedFrom))) : undefined
  if (addressColumn === undefined) throw new TokenvaultError('internal', 'a field has no column')
  return { kind: 'network', addressColumn }
}
