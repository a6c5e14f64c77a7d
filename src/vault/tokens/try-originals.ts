import { createHash } from 'node:crypto'
import type { Field } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { openOriginals } from './open-originals.ts'
import type { FieldOriginals } from './ports.ts'

/** What one call lists. */
const mostListed = 10_000
/** Draws for each original that is wanted: some are drawn twice. */
const mostDraws = 8

/** How many originals were tried, and what became of them. */
export interface TriedOriginals {
  readonly tried: number
  readonly opened: number
  /** Counts by code. */
  readonly refused: Readonly<Record<string, number>>
}

/**
 * Opens some originals of a field, to see that it can be done. Nobody sees what they hold.
 *
 * @param options.count most of them; those of a field that has fewer are tried once each
 * @param options.seed the same seed picks the same ones of the same vault
 * @throws TokenvaultError `store_unavailable`
 */
export async function tryOriginals(
  deps: { readonly keys: FieldKeys; readonly originals: FieldOriginals },
  field: Pick<Field, 'name' | 'format'>,
  options: { readonly count: number; readonly seed: number },
): Promise<TriedOriginals> {
  const { keys, originals } = deps
  const { count, seed } = options
  const first = await originals.listOriginals(field.name, { limit: Math.min(count + 1, mostListed) })
  const isFew = first.length <= count
  const picked = new Map((isFew ? first : []).map(original => [original.tokenId, original]))
  for (let place = 0; !isFew && picked.size < count && place < count * mostDraws; place++) {
    const random = createHash('sha256').update(`${seed}/${field.name}/${place}`).digest('hex').slice(0, 32)
    // Ids that are spelled as addresses all begin alike.
    const before = field.format === 'inet' ? first[0]!.tokenId.slice(0, 2) + random.slice(2) : random
    const [next = first[0]!] = await originals.listOriginals(field.name, { before, limit: 1 })
    picked.set(next.tokenId, next)
  }
  const tried = [...picked.values()].map(original => ({ id: original.tokenId, original }))
  const refused = new Map<string, number>()
  for (const answer of openOriginals(keys, field, tried))
    if ('code' in answer) refused.set(answer.code, (refused.get(answer.code) ?? 0) + 1)
  const failed = [...refused.values()].reduce((sum, times) => sum + times, 0)
  return { tried: tried.length, opened: tried.length - failed, refused: Object.fromEntries(refused) }
}
