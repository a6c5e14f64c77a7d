import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import type { Act, ActLog, CommittedAct, Ruling } from '../vault/admission/ports.ts'
import { bytesArray } from './postgres/array-literal.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'
import { namingFailures } from './postgres/errors.ts'

/** An act, and its event as it would be if the act were plainly allowed: what nearly every act turns out to be. */
interface Waiting {
  readonly act: Act
  readonly plainEvent: Buffer
  readonly resolve: (committed: CommittedAct) => void
  readonly reject: (error: unknown) => void
}

/** Most acts, and most bytes of events, that one commit takes. One event may be larger than all that. */
const maxGroup = 500
const maxGroupBytes = 4 * 1024 * 1024

const plainly: Ruling = Object.freeze({ allowed: true })

/**
 * Commits acts to the transparency log. The head's row lock serializes them anyway, so while one commit is under way
 * the others wait together and share the next: the cost of a commit is spread over all who wait for it.
 *
 * A group whose acts are all allowed and have no effect is one statement. Any other is a transaction of four: its
 * events say how their acts were ruled, so they are made between the ruling and the append.
 */
export function createActLog(database: TokenvaultDatabase): ActLog {
  let waiting: Waiting[] = []
  let isCommitting = false

  async function commitWaiting(): Promise<void> {
    isCommitting = true
    // Those whose originals one look-up found arrive in this turn of the event loop, too.
    await setImmediate()
    while (waiting.length > 0) {
      const group = takeGroup(waiting)
      waiting = waiting.slice(group.length)
      try {
        const committed = await namingFailures(() => commitGroup(database, group))
        for (const [index, { resolve }] of group.entries()) resolve(committed[index]!)
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    isCommitting = false
  }

  return {
    async commit(act) {
      const plainEvent = serialize(act, plainly)
      refuseUnstorable(act)
      return new Promise((resolve, reject) => {
        waiting.push({ act, plainEvent, resolve, reject })
        if (!isCommitting) void commitWaiting()
      })
    },
  }
}

function takeGroup(waiting: readonly Waiting[]): readonly Waiting[] {
  let bytes = 0
  const end = waiting.findIndex(({ plainEvent }, index) => {
    bytes += plainEvent.length
    return index > 0 && (index === maxGroup || bytes > maxGroupBytes)
  })
  return end === -1 ? waiting : waiting.slice(0, end)
}

async function commitGroup(database: TokenvaultDatabase, group: readonly Waiting[]): Promise<CommittedAct[]> {
  const request = describeActs(group.map(({ act }) => act))
  const plainEvents = group.map(({ plainEvent }) => plainEvent)
  if (group.every(({ act }) => act.effect === undefined)) {
    const { rows } = await sql<{ first: string | null }>`
      select pii_vault.commit_plain_acts(${request}::jsonb, ${bytesArray(plainEvents)}::bytea[]) as first`.execute(
      database,
    )
    const first = rows[0]!.first
    if (first !== null) return plainEvents.map((event, index) => place(Number(first) + index, event, plainly))
  }

  // Each statement must see what was committed while it waited for the head, whatever the session's default is.
  return database
    .transaction()
    .setIsolationLevel('read committed')
    .execute(async transaction => {
      const { rows } = await sql<{ rulings: (StoredRuling | null)[] }>`
      select pii_vault.rule_acts(${request}::jsonb) as rulings`.execute(transaction)
      const rulings = rows[0]!.rulings.map(toRuling)
      const events = group.map(({ act, plainEvent }, index) =>
        rulings[index] === plainly ? plainEvent : serialize(act, rulings[index]!),
      )
      const appended = await sql<{ first: string }>`
      select pii_vault.append_audit(${bytesArray(events)}::bytea[]) as first`.execute(transaction)
      const first = Number(appended.rows[0]!.first)
      return events.map((event, index) => place(first + index, event, rulings[index]!))
    })
}

/** What `pii_vault.rule_acts` says of an act that is refused, or that has an effect. */
type StoredRuling = Partial<Extract<Ruling, { allowed: false }> & Omit<Extract<Ruling, { allowed: true }>, 'allowed'>>

function toRuling(stored: StoredRuling | null): Ruling {
  if (stored === null) return plainly
  const { code, window, retryAfterSeconds, approvalId, approvalState, approvalExpiresAt } = stored
  if (code !== undefined)
    return {
      allowed: false,
      code,
      ...(window === undefined ? {} : { window }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    }
  if (approvalId === undefined || approvalState === undefined || approvalExpiresAt === undefined) return plainly
  return { allowed: true, approvalId, approvalState, approvalExpiresAt }
}

/** The acts as `pii_vault.rule_acts` takes them: each principal once, since a group is many acts of few. */
function describeActs(acts: readonly Act[]): string {
  const places = new Map<string, number>()
  const principals: { issuer: string; subject: string }[] = []
  const described = acts.map(({ principal: { issuer, subject, roles }, purpose, charge, effect }) => {
    const name = JSON.stringify([issuer, subject])
    if (!places.has(name)) {
      places.set(name, principals.length)
      principals.push({ issuer, subject })
    }
    return { principal: places.get(name), ...charge, effect: effect && { ...effect, roles, purpose } }
  })
  return JSON.stringify({ principals, acts: described })
}

/** Once for each try: what is hashed is exactly what is stored. */
function serialize(act: Act, ruling: Ruling): Buffer {
  return Buffer.from(JSON.stringify(act.event(ruling)), 'utf8')
}

function place(sequence: number, event: Buffer, ruling: Ruling): CommittedAct {
  return { ruling, sequence, leafHash: createHash('sha256').update(Uint8Array.of(0)).update(event).digest() }
}

/** The database refuses such text in what it parses, and would refuse with it whatever waits in the same group. */
function refuseUnstorable({ principal: { issuer, subject, roles }, purpose, effect }: Act): void {
  const texts = [
    issuer,
    subject,
    ...roles,
    purpose,
    ...Object.values(effect ?? {}),
    ...Object.keys(effect?.kind === 'request_approval' ? effect.fields : {}),
  ]
  if (texts.some(text => typeof text === 'string' && (text.includes('\0') || !text.isWellFormed())))
    throw new TokenvaultError('store_refused', 'an act holds text that the database cannot hold')
}
