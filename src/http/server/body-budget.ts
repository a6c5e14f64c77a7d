import { TokenvaultError } from '../../errors.ts'

/** What one request holds of the budget. */
export interface BodyHold {
  /** Holds that many bytes from now on, instead of fewer. @throws TokenvaultError `overloaded`, and then holds what it held */
  growTo(bytes: number): void
  /** Gives everything back; the second time, nothing. */
  release(): void
}

/** Of the budget, the part that one holder may take: whoever has one access token does not keep all others out. */
const shareOfHolder = 1 / 4

/**
 * Bytes of request bodies that the process holds at once, over all connections: being read, waiting, or being worked on. What
 * counts is memory that was allocated for a body, not what its header announces: announcing costs a caller nothing, and so
 * must not cost others.
 */
export class BodyBudget {
  readonly maxBytes: number
  readonly #maxBytesOfHolder: number
  readonly #byHolder = new Map<string, number>()
  #heldBytes = 0
  #peakBytes = 0

  /**
   * @param maxBytes of all bodies together
   * @param largestBody bytes that everybody may hold, whatever the share is
   */
  constructor(maxBytes: number, largestBody: number) {
    this.maxBytes = maxBytes
    this.#maxBytesOfHolder = Math.max(largestBody, Math.floor(maxBytes * shareOfHolder))
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  /** The most that was ever held. */
  get peakBytes(): number {
    return this.#peakBytes
  }

  /** @param holder who sends the body, as a text that is the same for all requests of one */
  hold(holder: string): BodyHold {
    let held = 0
    const change = (bytes: number) => {
      const ofHolder = (this.#byHolder.get(holder) ?? 0) + bytes
      if (ofHolder === 0) this.#byHolder.delete(holder)
      else this.#byHolder.set(holder, ofHolder)
      this.#heldBytes += bytes
      this.#peakBytes = Math.max(this.#peakBytes, this.#heldBytes)
      held += bytes
    }
    return {
      growTo: bytes => {
        const more = bytes - held
        const ofHolder = this.#byHolder.get(holder) ?? 0
        if (this.#heldBytes + more > this.maxBytes || ofHolder + more > this.#maxBytesOfHolder)
          throw new TokenvaultError('overloaded', 'the bodies of other requests fill the budget')
        change(more)
      },
      release: () => change(-held),
    }
  }
}
