import { randomUUID } from 'node:crypto'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { OpenSink } from '../publish/open-sink.ts'
import { createAuditReader } from '../store/audit-reader.ts'
import {
  createBodyReader,
  createErasureLedger,
  createErasureStore,
  forEachPeople,
  readNewestErasure,
  reapplyErasure,
} from '../store/erasures.ts'
import { createKeyAdministration } from '../store/key-changes.ts'
import { createKeyReader } from '../store/keys.ts'
import { namingFailures, type TokenvaultDatabase } from '../store/postgres/database.ts'
import { hashOfNote, hashOfTokens, openErasure } from '../tlog/erasure-certificate.ts'
import { type AnySigner, readVerifierOf } from '../vault/admission/log-signer.ts'
import type { OpenAction } from '../vault/admission/open-action.ts'
import { createProver } from '../vault/evidence/prove.ts'
import type { FieldSchema } from '../vault/fields/fields.ts'
import type { FieldKeys } from '../vault/keys/field-keys.ts'
import { createErasureVerbs, type ErasureVerbs } from '../vault/people/erase.ts'
import { describePersonErased } from '../vault/people/erasure-event.ts'
import type { ErasureEntry, ErasureLedger, PublishedErasures } from '../vault/people/erasure-ports.ts'
import { findQuarantined } from '../vault/people/find-quarantined.ts'
import { digestPerson, personKeys } from '../vault/people/person.ts'
import { createOpenQuarantined } from '../vault/quarantine/sealed-bodies.ts'
import { digestTokens } from '../vault/tokens/erased-tokens.ts'

/** What erasing needs of the process that it runs in. */
export interface ErasureParts {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly signer: AnySigner
  readonly openAction: OpenAction
  /** As tokenvault_api. */
  readonly database: TokenvaultDatabase
  /** As tokenvault_privacy; absent where PRIVACY_DATABASE_URL is not set. */
  readonly privacy: TokenvaultDatabase | undefined
  readonly sink: Pick<OpenSink, 'erasures'> | undefined
}

/** Puts together who erases people. */
export function composeErasures(parts: ErasureParts): ErasureVerbs {
  const { fields, keys, signer, openAction, database, privacy, sink } = parts
  const prover = createProver(createAuditReader(database), () => readVerifierOf(signer))
  const readBodies = createBodyReader(database)
  const openQuarantined = createOpenQuarantined(keys)
  const keyReader = createKeyReader(database)
  return createErasureVerbs({
    fields,
    keys,
    signer,
    openAction,
    store: privacy && createErasureStore(privacy),
    ledger: createErasureLedger(database),
    findQuarantined: userId => findQuarantined(readBodies, openQuarantined, userId),
    async readBackupKeys() {
      const stored = await keyReader.readKeys()
      const opening = stored.filter(({ purpose }) => purpose === 'data' || purpose === 'quarantine')
      return { keys: opening, keks: [...new Set(stored.map(({ kekId }) => kekId))] }
    },
    proveInclusion: sequence => prover.proveInclusion(sequence),
    published: sink?.erasures,
  })
}

/**
 * Publishes entries that a sink does not have yet: those made while it was away, or by a process that died before it could.
 *
 * @returns how far the published ledger reaches
 * @throws TokenvaultError `checkpoint_unavailable`, `erasure_ledger_conflict`, `store_unavailable`
 */
export async function publishErasures(
  ledger: ErasureLedger,
  published: Partial<PublishedErasures>,
  from: number,
): Promise<number> {
  if (published.publish === undefined) return from
  // A place is not asked for what nobody has to publish.
  if ((await ledger.listEntries(from, 1)).length === 0) return from
  let newest = Math.max(from, (await published.findNewest?.(from)) ?? from)
  for (;;) {
    const [entry] = await ledger.listEntries(newest, 1)
    if (entry === undefined) return newest
    await published.publish(entry)
    newest = entry.number
  }
}

/**
 * Compares the ledger of the database with the published one.
 *
 * @throws TokenvaultError `erasure_ledger_behind` where people were erased of whom the database does not know,
 *   `checkpoint_unavailable`, `store_unavailable`
 */
export async function checkErasureLedger(
  database: TokenvaultDatabase,
  published: Partial<PublishedErasures> | undefined,
): Promise<void> {
  if (published?.findNewest === undefined) return
  const own = await namingFailures(() => readNewestErasure(database))
  const newest = await published.findNewest(own)
  if (newest > own)
    throw new TokenvaultError(
      'erasure_ledger_behind',
      `the published ledger reaches to ${newest}, that of the database to ${own}`,
    )
}

/**
 * As checkErasureLedger, for a process that starts. While the published ledger cannot be read, nobody can tell: that is logged, and
 * the process starts.
 *
 * @throws TokenvaultError `erasure_ledger_behind`, `store_unavailable`
 */
export async function refuseOldErasures(
  database: TokenvaultDatabase,
  published: Partial<PublishedErasures> | undefined,
  log: Log,
): Promise<void> {
  try {
    await checkErasureLedger(database, published)
  } catch (err) {
    if (!(err instanceof TokenvaultError && err.code === 'checkpoint_unavailable')) throw err
    log.warn({ event: 'erasure_ledger_unread', err })
  }
}

/** What re-applying did. */
export interface Reapplied {
  /** Entries that were entered. */
  readonly entries: number
  /** Those of whom there were rows. */
  readonly people: number
  /** Rows of user_logins that were removed, or lost their user_id. */
  readonly rows: number
}

/**
 * Erases again who was erased after the moment of which the database is: after a restore, before anybody reads it. Each entry is one
 * transaction, so that whoever dies goes on where it ended. Every entry is checked: its signature, its place, its tokens.
 *
 * @param parts.database a connection that may act as tokenvault_owner
 * @throws TokenvaultError `erasure_invalid`, `erasure_ledger_conflict`, `audit_invalid`, `checkpoint_unavailable`, `store_unavailable`
 */
export async function reapplyErasures(parts: {
  readonly database: TokenvaultDatabase
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly signer: AnySigner
  readonly published: Pick<PublishedErasures, 'findNewest' | 'read'>
  /** Name of the database role that logged in, for the events. */
  readonly login: string
}): Promise<Reapplied> {
  const { database, fields, keys, signer, published, login } = parts
  const own = await namingFailures(() => readNewestErasure(database))
  const newest = await published.findNewest(own)
  const entries: ErasureEntry[] = []
  for (let number = own + 1; number <= newest; number++) {
    const entry = await published.read(number)
    if (entry === undefined) throw new TokenvaultError('erasure_ledger_conflict', `entry ${number} was not published`)
    entries.push(entry)
  }
  if (entries.length === 0) return { entries: 0, people: 0, rows: 0 }
  const verifier = await readVerifierOf(signer)
  const opened = entries.map(entry => ({ entry, statement: openErasure(entry.certificate, verifier) }))
  for (const { entry, statement } of opened)
    if (statement.number !== entry.number || statement.tokens.sha256 !== hashOfTokens(entry.tokens))
      throw new TokenvaultError('erasure_invalid', `the published entry ${entry.number} was changed`)
  const userIds = await findPeople(database, keys, new Set(opened.map(({ statement }) => statement.person)))

  const readBodies = createBodyReader(database)
  const openQuarantined = createOpenQuarantined(keys)
  const eraser = { issuer: 'postgres', subject: login, roles: [], channel: 'cli' } as const
  const done = { entries: 0, people: 0, rows: 0 }
  for (const { entry, statement } of opened) {
    const { person, rows, number, previous } = statement
    const userId = userIds.get(person)
    const quarantined = userId === undefined ? [] : (await findQuarantined(readBodies, openQuarantined, userId)).ids
    const at = new Date().toISOString()
    const erased = await reapplyErasure(
      database,
      { userId, fields, rows, quarantined },
      {
        number,
        previous,
        event: found =>
          describePersonErased({
            ...{ eraser, requestId: randomUUID(), at, personKey: person, rows, erased: found, isReapplied: true },
            person: userId === undefined ? undefined : digestPerson(keys, userId),
          }),
        entry: async found => ({
          person,
          at: statement.at,
          certificate: entry.certificate,
          hash: Buffer.from(hashOfNote(entry.certificate), 'base64'),
          tokens: [...new Set([...entry.tokens, ...digestTokens(keys, found.tokens)])],
        }),
      },
    )
    done.entries++
    if (userId !== undefined) done.people++
    done.rows += erased.counts.reduce((sum, { kind, count }) => (/row$/.test(kind) ? sum + count : sum), 0)
  }
  return done
}

/** As reapplyErasures, with what CHECKPOINT_URL names; undefined where nothing is named that can be read. */
export async function reapplyPublished(
  parts: Omit<Parameters<typeof reapplyErasures>[0], 'published' | 'login'>,
  sink: OpenSink | undefined,
): Promise<Reapplied | undefined> {
  const { findNewest, read } = sink?.erasures ?? {}
  if (findNewest === undefined || read === undefined) return undefined
  const login = await createKeyAdministration(parts.database).readLogin()
  return reapplyErasures({ ...parts, login, published: { findNewest, read } })
}

/** Rows name people, and the ledger has their digests: so each user_id is digested once. */
async function findPeople(
  database: TokenvaultDatabase,
  keys: FieldKeys,
  people: ReadonlySet<string>,
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>()
  await forEachPeople(database, userIds => {
    for (const [index, digest] of personKeys(keys, userIds).entries())
      if (people.has(digest)) found.set(digest, userIds[index]!)
  })
  return found
}
