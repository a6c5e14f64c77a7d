import Type from 'typebox'
import { maxPageSize } from '../vault/admission/open-action.ts'

/** Entries of a page where the caller names no `limit`. */
export const usualPageSize = 100

// The largest page is a power of ten: every number of fewer digits is smaller.
const limitText = `^([1-9][0-9]{0,${String(maxPageSize).length - 2}}|${maxPageSize})$`

/**
 * The query parameter `limit`. A query is text, and nothing coerces it.
 *
 * @param what entries of the list, e.g. `Requests`
 */
export function limitSchema(what: string) {
  return Type.Optional(
    Type.String({
      pattern: limitText,
      description: `${what} in one page, 1 to ${maxPageSize}; ${usualPageSize} by default.`,
    }),
  )
}

/** The query parameter `before` of a list whose entries have ids of that schema. */
export function beforeSchema(idSchema: Type.TString) {
  return Type.Optional(Type.String({ ...idSchema, description: 'The last id of the page before: its `next`.' }))
}

/** `next` of a page; absent on the last one. */
export const nextSchema = Type.Optional(
  Type.String({ description: '`before` of the next page; absent on the last one.' }),
)

/** @returns the cursor of the page after this one; nothing where this one is not full, and so the last */
export function nextOf<Entry, Cursor>(
  page: readonly Entry[],
  limit: number,
  cursorOf: (entry: Entry) => Cursor,
): { next?: Cursor } {
  return page.length < limit ? {} : { next: cursorOf(page.at(-1)!) }
}
