import { createHash } from 'node:crypto'

/** Numbers from 0 up to 1 that a seed decides; for orders and synthetic noise, not for keys. */
export function seededRandom(seed: number): () => number {
  let counter = 0
  let block = Buffer.alloc(0)
  return () => {
    if (block.length < 4) block = createHash('sha256').update(`${seed}/${counter++}`).digest()
    const value = block.readUInt32LE()
    block = block.subarray(4)
    return value / 2 ** 32
  }
}

export function shuffle<T>(items: T[], random: () => number): T[] {
  for (let index = items.length - 1; index > 0; index--) {
    const other = Math.floor(random() * (index + 1))
    ;[items[index], items[other]] = [items[other]!, items[index]!]
  }
  return items
}
