import { sql } from 'kysely'
import { coalesce } from '../concurrency/coalesce.ts'
import { TokenvaultError } from '../errors.ts'
import { leafHash } from '../tlog/merkle.ts'
import type {
  Action,
  ActionLog,
  Admission,
  AuditEvent,
  Change,
  CommittedAction,
  CountedAction,
  MetHoney,
  RefusalCounts,
} from '../vault/admission/ports.ts'
import { bytesArray } from './postgres/array-literal.ts'
import { inTransaction, namingFailures, retryingConflicts, type TokenvaultDatabase } from './postgres/database.ts'

/** An action, and the bytes of its event where it is plain: admitted, and nothing more to say, as nearly every one is. */
interface Waiting {
  readonly action: Action
  readonly plainEvent: Buffer
}

/** Most actions, and most bytes of events, that one commit takes. One event may be larger than all that. */
const maxGroup = 500
const maxGroupBytes = 4 * 1024 * 1024

const plain: Admission = Object.freeze({ allowed: true })

/**
 * Commits actions to the transparency log. The head's row lock serializes them anyway, so while one commit is under way
 * the others wait together and share the next: the cost of a commit is spread over all who wait for it.
 *
 * A group of plain actions that change nothing is one statement. Any other is a transaction of four: its events say how
 * their actions were admitted, so they are appended after that is known.
 */
export function createActionLog(database: TokenvaultDatabase): ActionLog {
  const commit = coalesce<Waiting, CommittedAction | CountedAction>(
    { lanes: 1, maxItems: maxGroup, weigh: ({ plainEvent }) => plainEvent.length, maxWeight: maxGroupBytes },
    group => namingFailures(() => commitGroup(database, group)),
  )
  return {
    async commit(action) {
      const plainEvent = serialize(action, plain)
      refuseUnstorable(action)
      return commit({ action, plainEvent })
    },
  }
}

/** What the log counts instead of appending. Every process may fold it, whichever counted it. */
export function createRefusalCounts(database: TokenvaultDatabase): RefusalCounts {
  return {
    fold: ({ everything } = { everything: false }) =>
      namingFailures(async () => {
        for (let done = foldedAtOnce; done === foldedAtOnce; ) {
          // Whoever waits for the head must see what was folded meanwhile.
          const { rows } = await inTransaction(database, transaction =>
            sql<{ done: number }>`select pii_vault.fold_refusals(${everything}) as done`.execute(transaction),
          )
          done = rows[0]!.done
        }
      }),
  }
}

/** As many rows as `pii_vault.fold_refusals` takes at once. */
const foldedAtOnce = 500

async function commitGroup(
  database: TokenvaultDatabase,
  group: readonly Waiting[],
): Promise<(CommittedAction | CountedAction)[]> {
  const actions = group.map(({ action }) => action)
  if (
    actions.every(({ change, preview, met, givesNothing }) => (change ?? preview ?? met) === undefined && !givesNothing)
  ) {
    const events = group.map(({ plainEvent }) => plainEvent)
    // The version is asked for behind the lock of the head, and so is that of these places.
    const statement = sql<{ first: string | null; version: number }>`
      select first, pii_vault.signing_key_version() as version from (
        select pii_vault.commit_plain_actions(${describeActions(actions)}::jsonb, ${bytesArray(events)}::bytea[]) as first
        offset 0) as committed`
    const { rows } = await retryingConflicts(() => statement.execute(database))
    const { first, version } = rows[0]!
    if (first !== null) return events.map((event, index) => place(Number(first) + index, event, plain, version))
  }

  // Made only now: nearly every action is held by its allowances.
  const instead = actions.map(({ otherwise }) => otherwise?.())
  const request = describeActions(
    actions,
    instead.map(made => made?.change),
  )
  // Each statement must see what was committed while it waited for the head, whatever the session's default is.
  return inTransaction(database, async transaction => {
    const admitted = await sql<{ admissions: (StoredAdmission | null)[] }>`
      select pii_vault.admit_actions(${request}::jsonb) as admissions`.execute(transaction)
    const admissions = admitted.rows[0]!.admissions.map(toAdmission)
    const events = group.map(({ action, plainEvent }, index) =>
      admissions[index] === plain ? plainEvent : serialize(action, admissions[index]!, instead[index]?.event),
    )
    const repeats = JSON.stringify(actions.map((action, index) => describeRepeat(action, admissions[index]!)))
    const appended = await sql<{ sequences: (string | null)[]; version: number }>`
      select sequences, pii_vault.signing_key_version() as version from (
        select pii_vault.append_actions(${bytesArray(events)}::bytea[], ${repeats}::jsonb) as sequences offset 0) as appended`.execute(
      transaction,
    )
    const { sequences, version } = appended.rows[0]!
    for (const [index, { met }] of actions.entries()) {
      const admission = admissions[index]!
      // What an approval is asked for is not given.
      if (met !== undefined && admission === plain) await recordMet(transaction, met)
    }
    return events.map((event, index) => {
      const admission = admissions[index]!
      const sequence = sequences[index]!
      return sequence === null ? { admission, isCounted: true } : place(Number(sequence), event, admission, version)
    })
  })
}

async function recordMet(transaction: TokenvaultDatabase, { event, ids, suspends }: MetHoney): Promise<void> {
  const line = Buffer.from(JSON.stringify(event), 'utf8')
  await sql`select pii_vault.meet_honey(${line}, ${ids}::uuid[], ${suspends})`.execute(transaction)
}

/** What `pii_vault.admit_actions` says of an action that is refused, asks for an approval, or is a preview. */
type StoredAdmission = Partial<
  Extract<Admission, { allowed: false }> & Omit<Extract<Admission, { allowed: true }>, 'allowed'>
>

function toAdmission(stored: StoredAdmission | null): Admission {
  if (stored === null) return plain
  if (stored.standing !== undefined) return { allowed: true, standing: stored.standing }
  const { code, window, retryAfterSeconds, approvalId, approvalState, approvalExpiresAt, withoutApproval } = stored
  const remaining = withoutApproval === undefined ? {} : { withoutApproval }
  if (code !== undefined)
    return {
      allowed: false,
      code,
      ...(window === undefined ? {} : { window }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
      ...remaining,
    }
  if (approvalId === undefined || approvalState === undefined || approvalExpiresAt === undefined) return plain
  return { allowed: true, approvalId, approvalState, approvalExpiresAt, ...remaining }
}

/**
 * The actions as `pii_vault.admit_actions` takes them: each principal once, since a group is many actions of few.
 *
 * @param instead the requests for approval that take the place of actions which no allowance holds
 */
function describeActions(actions: readonly Action[], instead: readonly (Change | undefined)[] = []): string {
  const principals = new Map<string, { place: number; issuer: string; subject: string; windows: Set<number> }>()
  const described = actions.map(
    ({ principal: { issuer, subject, roles }, purpose, charge, change, preview }, index) => {
      const name = JSON.stringify([issuer, subject])
      const known = principals.get(name) ?? { place: principals.size, issuer, subject, windows: new Set() }
      principals.set(name, known)
      const allowances = (charge ?? preview?.charge)?.withoutApproval?.allowances.flat() ?? []
      for (const { windowSeconds } of allowances) known.windows.add(windowSeconds)
      const whole = (made: Change | undefined) => made && { ...made, roles, purpose }
      // The database takes it for a change, one that changes nothing, so that it costs other actions nothing.
      const previewed = preview && { kind: 'preview', digest: preview.digest, ...preview.charge }
      return { principal: known.place, ...charge, change: previewed ?? whole(change), otherwise: whole(instead[index]) }
    },
  )
  const named = [...principals.values()].map(({ issuer, subject, windows }) => {
    return { issuer, subject, windows: [...windows] }
  })
  return JSON.stringify({ principals: named, actions: described })
}

/** What is hashed is exactly what is stored. */
function serialize({ events, change }: Action, admission: Admission, instead?: AuditEvent): Buffer {
  let event = events.admitted
  // Both members are there already, so their places in the text are the same for every admission.
  if (!admission.allowed) event = { ...events.refused, code: admission.code }
  else if (admission.approvalId !== undefined) {
    event = { ...(change === undefined && instead !== undefined ? instead : event), approval: admission.approvalId }
  }
  return Buffer.from(JSON.stringify(event), 'utf8')
}

/** With what an event is counted that gave nothing; null for one that is always an event of its own. */
function describeRepeat({ principal, givesNothing, events }: Action, admission: Admission) {
  // Exceeding the budget of a day suspends, and what changes something is an event.
  if (admission.allowed ? !givesNothing : admission.window === 'day') return null
  const { issuer, subject } = principal
  const { type, mode, at, decision, code, requested, withheld } = admission.allowed ? events.admitted : events.refused
  const reasons = admission.allowed ? [code, ...Object.keys(withheld)] : [admission.code]
  // The event of several says everything else of the first of them, so what is counted together is of one mode.
  return { issuer, subject, kind: [type, mode, decision, ...reasons].filter(Boolean).join(' '), requested, at }
}

function place(sequence: number, event: Buffer, admission: Admission, signingKeyVersion: number): CommittedAction {
  return { admission, sequence, leafHash: leafHash(event), signingKeyVersion }
}

/** The database refuses such text in what it parses, and would refuse with it whatever waits in the same group. */
function refuseUnstorable({ principal, purpose, change }: Action): void {
  const { issuer, subject, roles, client, actor } = principal
  const texts = [
    issuer,
    subject,
    ...roles,
    client,
    ...Object.values(actor ?? {}),
    purpose,
    ...Object.values(change ?? {}),
    ...Object.keys(change?.kind === 'request_approval' ? change.fields : {}),
  ]
  if (texts.some(text => typeof text === 'string' && (text.includes('\0') || !text.isWellFormed())))
    throw new TokenvaultError('store_refused', 'an action holds text that the database cannot hold')
}
