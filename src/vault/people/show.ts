import { packText } from '../../crypto/byte-column.ts'
import { nameToken } from '../../crypto/typed-token.ts'
import type { OpenAction, OpenedAction } from '../admission/open-action.ts'
import type { Principal } from '../admission/ports.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { openOriginals } from '../tokens/open-originals.ts'
import type { OriginalReader } from '../tokens/ports.ts'
import { readToken } from '../tokens/read-token.ts'
import { checkUserId, digestPerson, otherForms, personKey } from './person.ts'
import type {
  AccessEvent,
  AccessSearch,
  FieldTokens,
  Hold,
  HoldReader,
  MonthRows,
  PersonOverview,
  PersonReader,
  QuarantineScan,
  RecordedExport,
  SealedEntry,
} from './ports.ts'

/** Most tokens of a field, events and exports of one answer, and quarantined bodies that are opened for it. */
export const personLimits = { tokens: 10_000, events: 1000, exports: 1000, bodies: 20_000 } as const

/** Quarantined entries by the person that their body names. */
export interface QuarantinedOfPerson {
  readonly entries: readonly string[]
  /** Bodies that were opened, and those of them that name nobody, so that nobody can say whose they are. */
  readonly examined: number
  readonly unattributed: number
  readonly isComplete: boolean
}

export interface ShownPerson {
  /** By which events name the person. */
  readonly person: string
  readonly rows: number
  readonly months: readonly MonthRows[]
  readonly firstDay: string
  readonly lastDay: string
  readonly tokens: readonly FieldTokens[]
  readonly quarantined: QuarantinedOfPerson
  readonly exports: readonly RecordedExport[]
  readonly access: { readonly events: readonly AccessEvent[]; readonly isComplete: boolean }
  readonly hold?: Hold
}

export interface PeopleDependencies {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly people: PersonReader
  readonly holds: HoldReader
  readonly originals: OriginalReader
  readonly quarantine: QuarantineScan
  readonly openQuarantined: (bodies: readonly SealedEntry[]) => readonly (string | undefined)[]
  readonly access: AccessSearch
  readonly openAction: OpenAction
}

/**
 * What the vault holds about a person, and who saw it. An event.
 *
 * @throws TokenvaultError `request_invalid`, `people_off`, `role_not_permitted`, `person_unknown`, `principal_suspended`,
 *   `audit_unavailable`, `audit_invalid` where an event was altered, `store_unavailable`
 */
export type ShowPerson = (
  principal: Principal,
  request: { readonly requestId: string; readonly userId: string },
) => Promise<ShownPerson>

/** @param deps absent where the API has no login for it */
export function createShowPerson(
  deps: PeopleDependencies | (Pick<PeopleDependencies, 'keys' | 'openAction'> & { readonly people?: undefined }),
): ShowPerson {
  const { keys, openAction } = deps
  return async (principal, { requestId, userId }) => {
    checkUserId(userId)
    const person = digestPerson(keys, userId)
    const action = await openAction({ operation: 'person_show', principal, requestId, person, needs: 'people' })
    if (deps.people === undefined) return action.refuse('people_off')
    const overview = await findPerson(deps, action, userId)
    const shown = await describePerson(deps, userId, overview)
    await action.record()
    return shown
  }
}

/** @throws TokenvaultError `person_unknown`, on record, which says whether another Unicode form of the user id has rows */
export async function findPerson(
  { people }: Pick<PeopleDependencies, 'people'>,
  action: OpenedAction,
  userId: string,
): Promise<PersonOverview> {
  const [overview, others] = await Promise.all([
    people.readOverview(userId, personLimits.tokens),
    people.hasRows(otherForms(userId)),
  ])
  if (overview !== undefined) return overview
  const form = others[0] === undefined ? undefined : (['NFC', 'NFD', 'NFKC', 'NFKD'] as const).find(name => others[0] === userId.normalize(name)) // biome-ignore format: one thing
  return action.refuse('person_unknown', form && `rows are there of its other Unicode form, ${form}: send that`)
}

async function describePerson(
  deps: PeopleDependencies,
  userId: string,
  overview: PersonOverview,
): Promise<ShownPerson> {
  const { months, firstDay, lastDay, tokens } = overview
  const { events, isComplete } = await findAccess(deps, tokens)
  const hold = await deps.holds.findHold(personKey(deps.keys, userId))
  return {
    person: digestPerson(deps.keys, userId),
    rows: months.reduce((sum, { rows }) => sum + rows, 0),
    months,
    firstDay,
    lastDay,
    tokens,
    quarantined: await findQuarantined(deps, userId),
    exports: await deps.people.listExports(
      { first: months[0]!.month, last: months.at(-1)!.month },
      personLimits.exports,
    ),
    access: {
      events,
      isComplete: isComplete && tokens.every(({ hasMore }) => !hasMore),
    },
    ...(hold && { hold }),
  }
}

/** Events that gave, or told, one of the person's tokens or its value, under this or another version of the keys. */
export async function findAccess(
  deps: Pick<PeopleDependencies, 'fields' | 'keys' | 'originals' | 'access'>,
  tokens: readonly FieldTokens[],
): Promise<{ readonly events: readonly AccessEvent[]; readonly isComplete: boolean }> {
  const identities = new Set<string>()
  for (const { field, tokens: ofField } of tokens)
    for (const identity of await identitiesOf(deps, field, ofField)) identities.add(identity)
  const all = [...identities]
  const digests = deps.keys.digests.flatMap(digest => digest.digest(all))
  return deps.access.findAccess(digests, personLimits.events)
}

/** The tokens as events know them, with those that their values have, or had, under other versions of the token key. */
async function identitiesOf(
  { fields, keys, originals }: Pick<PeopleDependencies, 'fields' | 'keys' | 'originals'>,
  name: string,
  tokens: readonly string[],
): Promise<readonly string[]> {
  const field = fields.get(name)!
  const read = tokens.map(token => readToken(field.format === 'text' ? token : { field: name, token }))
  const identities = read.map(({ identity }) => identity)
  const tokenKeys = keys.tokenKeys(name)
  if (tokenKeys.length < 2 || tokens.length === 0) return identities
  const ids = read.flatMap(token => ('id' in token ? [token.id] : []))
  const found = await originals.findOriginals(ids)
  const opened = openOriginals(
    keys,
    field,
    [...found].map(([id, original]) => ({ id, original })),
  )
  const values = opened.flatMap(answer => ('value' in answer ? [answer.value] : []))
  if (values.length === 0) return identities
  const others = tokenKeys.flatMap(key => key.tokensOf(packText(values), field).map(token => nameToken(field, token)))
  return [...identities, ...others]
}

/** Opens bodies in memory and looks for the property `user_id` of events: nothing else says whose a body is. */
async function findQuarantined(
  { quarantine, openQuarantined }: Pick<PeopleDependencies, 'quarantine' | 'openQuarantined'>,
  userId: string,
): Promise<QuarantinedOfPerson> {
  const entries: string[] = []
  let [examined, unattributed] = [0, 0]
  for (let after: string | undefined; examined < personLimits.bodies; ) {
    const bodies = await quarantine.readSealed(after)
    if (bodies.length === 0) return { entries, examined, unattributed, isComplete: true }
    for (const [index, text] of openQuarantined(bodies).entries()) {
      const named = text === undefined ? [] : peopleOf(text)
      if (named.length === 0) unattributed++
      else if (named.includes(userId)) entries.push(bodies[index]!.id)
    }
    examined += bodies.length
    after = bodies.at(-1)!.id
  }
  return { entries, examined, unattributed, isComplete: false }
}

/** The user ids of the events that a body holds. */
function peopleOf(text: string): readonly string[] {
  try {
    const parsed: unknown = JSON.parse(text)
    return (Array.isArray(parsed) ? parsed : [parsed]).flatMap(event => {
      const userId: unknown = Object(event)['user_id']
      return typeof userId === 'string' ? [userId] : []
    })
  } catch {
    return []
  }
}
