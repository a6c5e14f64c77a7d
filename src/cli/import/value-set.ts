import { hash, randomBytes } from 'node:crypto'

/**
 * A set of values that holds 128 bits of a keyed hash of each, so that 32 bytes do for a value of any length, and nobody finds
 * a value in the memory of the process that is in it. Two of a million values are taken for one another once in 10^26 sets.
 */
export class ValueSet {
  readonly #key = randomBytes(32).toString('hex')
  #slots = new BigUint64Array(2 * 1024)
  size = 0

  add(value: string): void {
    if (this.size * 4 > this.#slots.length) this.#grow()
    const [high, low] = this.#hash(value)
    const at = find(this.#slots, high, low)
    if (this.#slots[at] !== 0n) return
    this.#slots[at] = high
    this.#slots[at + 1] = low
    this.size++
  }

  has(value: string): boolean {
    const [high, low] = this.#hash(value)
    return this.#slots[find(this.#slots, high, low)] !== 0n
  }

  #hash(value: string): readonly [bigint, bigint] {
    const digest = hash('sha256', this.#key + value, 'buffer')
    // 0 stands for an empty slot.
    return [digest.readBigUInt64LE(0) | 1n, digest.readBigUInt64LE(8)]
  }

  #grow(): void {
    const before = this.#slots
    this.#slots = new BigUint64Array(before.length * 2)
    for (let at = 0; at < before.length; at += 2) {
      const high = before[at]!
      if (high === 0n) continue
      const place = find(this.#slots, high, before[at + 1]!)
      this.#slots[place] = high
      this.#slots[place + 1] = before[at + 1]!
    }
  }
}

/** The slot that holds the hash, or the empty one where it belongs. */
function find(slots: BigUint64Array, high: bigint, low: bigint): number {
  const last = slots.length - 2
  let at = Number(low & 0xffffffffn) * 2
  for (at %= slots.length; ; at = at === last ? 0 : at + 2) {
    if (slots[at] === 0n || (slots[at] === high && slots[at + 1] === low)) return at
  }
}
