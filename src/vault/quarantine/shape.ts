/** Type of a JSON value; `missing` where there is none. */
export type JsonType = 'object' | 'array' | 'string' | 'number' | 'boolean' | 'null' | 'missing'

/** What can be shown of a body without showing its contents: property names that producers choose may be values, too. */
export interface BodyShape {
  /** `invalid`: it is not JSON. `unreadable`: its seal does not open. */
  readonly json: Exclude<JsonType, 'missing'> | 'invalid' | 'unreadable'
  /** Elements of an array. */
  readonly elements?: number
  /** If the body is an object: the properties that an event has, with the type of each in this body. */
  readonly properties?: readonly { readonly name: string; readonly type: JsonType }[]
  /** If the body is an object: how many other properties it has. */
  readonly otherProperties?: number
}

/** @param known names of an event's properties, which are ours */
export function describeShape(body: string, known: readonly string[]): BodyShape {
  let parsed: unknown
  try {
    parsed = JSON.parse(body)
  } catch {
    return { json: 'invalid' }
  }
  const json = jsonType(parsed)
  if (Array.isArray(parsed)) return { json, elements: parsed.length }
  if (typeof parsed !== 'object' || parsed === null) return { json }
  const own = new Map(Object.entries(parsed))
  const properties = known.map(name => ({ name, type: own.has(name) ? jsonType(own.get(name)) : ('missing' as const) }))
  const otherProperties = own.size - properties.filter(({ type }) => type !== 'missing').length
  return { json, properties, otherProperties }
}

function jsonType(value: unknown): Exclude<JsonType, 'missing'> {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  // JSON.parse makes nothing else.
  return typeof value as 'object' | 'string' | 'number' | 'boolean'
}
