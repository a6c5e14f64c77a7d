import Type from 'typebox'

/**
 * The query parameter `limit`, 1 to 1,000. A query is text, and nothing coerces it.
 *
 * @param what things of the list, e.g. `Requests`
 */
export function pageLimit(what: string, fallback: number) {
  return Type.String({
    pattern: '^([1-9][0-9]{0,2}|1000)$',
    description: `${what} a page, 1 to 1000; ${fallback} by default.`,
  })
}
