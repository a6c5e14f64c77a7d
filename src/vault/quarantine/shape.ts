/** Type of a JSON value; `missing` where there is none. */
export type JsonType = 'object' | 'array' | 'string' | 'number' | 'boolean' | 'null' | 'missing'

/** What can be told of a body without telling anything in it: property names of producers may be values, too. */
export interface BodyShape {
  /** `invalid`: it is not JSON. `unreadable`: its seal does not open. */
  readonly json: Exclude<JsonType, 'missing'> | 'invalid' | 'unreadable'
  /** Elements of an array. */
  readonly elements?: number
  /** Of an object: the properties that an event has, and what the body has in their place. */
  readonly properties?: readonly { readonly name: string; readonly type: JsonType }[]
  /** Of an object: how many properties it has besides. */
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
