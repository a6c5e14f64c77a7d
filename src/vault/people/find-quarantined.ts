/** Reads entries that have a body, in order of their ids. @throws `store_unavailable` */
export type ReadBodies<Body> = (page: {
  readonly after: string | undefined
  readonly limit: number
}) => Promise<readonly Body[]>

/** Quarantined entries that are a person's, and how many bodies name nobody, or several people. */
export interface QuarantinedOfPerson {
  readonly ids: readonly string[]
  readonly unattributed: number
}

const pageSize = 500

/**
 * Opens every quarantined body, and tells whose they are by their property `user_id` alone. A body in which several people stand is left
 * and counted: it is not this person's to erase.
 */
export async function findQuarantined<Body extends { readonly id: string }>(
  readBodies: ReadBodies<Body>,
  openQuarantined: (bodies: readonly Body[]) => readonly (string | undefined)[],
  userId: string,
): Promise<QuarantinedOfPerson> {
  const ids: string[] = []
  let unattributed = 0
  for (let after: string | undefined; ; ) {
    const bodies = await readBodies({ after, limit: pageSize })
    for (const [index, text] of openQuarantined(bodies).entries()) {
      const named = text === undefined ? new Set<string>() : peopleOf(text)
      if (named.size !== 1) unattributed++
      else if (named.has(userId)) ids.push(bodies[index]!.id)
    }
    after = bodies.at(-1)?.id
    if (bodies.length < pageSize) return { ids, unattributed }
  }
}

/** The user_id of an event, or of each event of an array; empty where one of them has none. */
function peopleOf(text: string): ReadonlySet<string> {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return new Set()
  }
  const people = new Set<string>()
  for (const event of Array.isArray(parsed) ? parsed : [parsed]) {
    const userId: unknown = Object(event)['user_id']
    if (typeof userId !== 'string') return new Set()
    people.add(userId)
  }
  return people
}
