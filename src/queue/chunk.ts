/** The most entries that one SQS batch call takes. */
const maxEntries = 10

/**
 * Splits entries into SQS batches, in order: at most 10 entries and, where a size is given, at most `maxBytes`. An entry
 * larger than that stands alone, so that the queue decides about it.
 *
 * @param sizeOf bytes of an entry
 * @param mayJoin whether an entry may stand in one batch with those
 */
export function chunk<E>(
  entries: readonly E[],
  sizeOf: (entry: E) => number = () => 0,
  maxBytes = Number.POSITIVE_INFINITY,
  mayJoin: (current: readonly E[], entry: E) => boolean = () => true,
): E[][] {
  const chunks: E[][] = []
  let current: E[] = []
  let bytes = 0
  for (const entry of entries) {
    const size = sizeOf(entry)
    const fits = current.length < maxEntries && bytes + size <= maxBytes && mayJoin(current, entry)
    if (current.length > 0 && !fits) {
      chunks.push(current)
      current = []
      bytes = 0
    }
    current.push(entry)
    bytes += size
  }
  if (current.length > 0) chunks.push(current)
  return chunks
}
