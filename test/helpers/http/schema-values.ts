import fc from 'fast-check'
import { unicodeText } from '../crypto/property.ts'
import type { Schema } from './openapi-operations.ts'

/** Texts that exist in the vault, so that valid requests find something. */
export interface Corpus {
  readonly texts: readonly string[]
  /** Those that belong into a property, by its name. */
  readonly named: ReadonlyMap<string, readonly string[]>
}

const names = [
  'purpose',
  'tokens',
  'values',
  'id',
  'atomic',
  'ticket',
  '__proto__',
  'constructor',
  'toString',
  '',
  '0',
  'ｐurpose',
]

/** Values that no schema asks for. */
export const junk: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    ...[null, true, false, 0, -1, 0.5, 1e308, 2 ** 53, '', ' ', [], {}, [[]], [null], { $ref: '#' }, { toString: 1 }],
    ...[
      '\u0000',
      '\ud800',
      '\ufeff',
      '%00',
      '../../etc/passwd',
      "' OR 1=1 --",
      '{{7*7}}',
      '$(id)',
      '__proto__',
      '💥',
      '\u202e',
    ],
    ...['9'.repeat(400), 'x'.repeat(300), 'é'.repeat(200)],
  ),
  unicodeText(40),
  fc.jsonValue({ maxDepth: 3 }),
)

/** Values that a schema of the document asks for, roughly: what is not read here (formats, some patterns) is left to chance. */
export function valuesOf(
  schema: Schema,
  resolve: (schema: Schema) => Schema,
  corpus: Corpus,
  property = '',
): fc.Arbitrary<unknown> {
  const of = (inner: unknown, name = property) => valuesOf(inner as Schema, resolve, corpus, name)
  const { type, enum: members, anyOf, pattern, properties, items, examples } = resolve(schema)
  if (Array.isArray(members)) return fc.constantFrom(...members)
  if (Array.isArray(anyOf)) return fc.oneof(...anyOf.map(inner => of(inner)))
  if (type === 'boolean') return fc.boolean()
  if (type === 'null') return fc.constant(null)
  if (type === 'integer') return fc.oneof(fc.nat(5), fc.maxSafeInteger())
  if (type === 'array') return fc.array(of(items), { maxLength: 6 })
  if (type === 'object') {
    const required = (resolve(schema)['required'] ?? []) as string[]
    const members = Object.entries(properties ?? {}).map(([name, inner]) => [name, of(inner, name)] as const)
    return fc.record(Object.fromEntries(members), { requiredKeys: required, noNullPrototype: true })
  }
  const known = Array.isArray(examples) ? fc.constantFrom(...examples) : undefined
  const fits = (text: string) => typeof pattern !== 'string' || new RegExp(pattern, 'u').test(text)
  const named = (corpus.named.get(property) ?? []).filter(fits)
  const fitting = corpus.texts.filter(fits)
  return fc.oneof(
    ...(known === undefined ? [] : [{ arbitrary: known, weight: 6 }]),
    ...(named.length === 0 ? [] : [{ arbitrary: fc.constantFrom(...named), weight: 8 }]),
    ...(fitting.length === 0 ? [] : [{ arbitrary: fc.constantFrom(...fitting), weight: 4 }]),
    { arbitrary: matching(pattern), weight: 1 },
  )
}

function matching(pattern: unknown): fc.Arbitrary<string> {
  if (typeof pattern !== 'string') return fc.string({ maxLength: 30 })
  try {
    return fc.stringMatching(new RegExp(pattern))
  } catch {
    // fast-check does not read every pattern.
    return fc.constantFrom('abc', 'customer_support')
  }
}

/** A step into a value, and what happens to what stands there. */
interface Mutation {
  readonly kind: 'replace' | 'remove' | 'add' | 'rename' | 'repeat'
  /** Picks the place among all places of the value. */
  readonly place: number
  readonly value: unknown
  readonly name: string
}

export const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom('replace', 'remove', 'add', 'rename', 'repeat'),
  place: fc.nat(1000),
  value: junk,
  name: fc.constantFrom(...names),
})

/** The value with one place of it changed; the value itself is left alone. */
export function mutate(original: unknown, { kind, place, value, name }: Mutation): unknown {
  const root = { root: structuredClone(original) }
  const places: { holder: Record<string, unknown>; key: string }[] = []
  const visit = (holder: Record<string, unknown>, key: string) => {
    places.push({ holder, key })
    const inner = holder[key]
    if (typeof inner === 'object' && inner !== null)
      for (const next of Object.keys(inner)) visit(inner as Record<string, unknown>, next)
  }
  visit(root as Record<string, unknown>, 'root')
  const { holder, key } = places[place % places.length]!
  const target = holder[key]
  if (kind === 'replace') holder[key] = value
  else if (kind === 'remove') delete holder[key]
  else if (kind === 'rename') {
    delete holder[key]
    define(holder, name, target)
  } else if (kind === 'repeat' && Array.isArray(target)) holder[key] = [...target, ...target]
  else if (typeof target === 'object' && target !== null) define(target as Record<string, unknown>, name, value)
  return root.root
}

/** An own property even where the name is `__proto__`. */
function define(holder: Record<string, unknown>, name: string, value: unknown) {
  Object.defineProperty(holder, name, { value, enumerable: true, configurable: true, writable: true })
}
