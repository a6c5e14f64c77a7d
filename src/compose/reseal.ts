import { pause } from '../concurrency/waiting.ts'
import type { ResealStore } from '../store/reseal.ts'
import type { FieldKeys } from '../vault/keys/field-keys.ts'
import type { SealedOriginal, TokenId } from '../vault/tokens/ports.ts'
import { resealOriginals } from '../vault/tokens/reseal.ts'

/** What was done; `notAuthentic` were left as they are. */
export interface Resealed {
  readonly resealed: number
  readonly notAuthentic: number
  /** Left because no usable key opens their seal: of a disabled or destroyed version. */
  readonly keyMissing: number
}

/**
 * Re-seals every original of a field that is not sealed under the primary data key: in order of token id, a batch in each
 * transaction, so that it can be stopped at any point and started again. Nothing here can make or open a token.
 *
 * @param options.perSecond most originals in a second
 * @param options.onProgress is told how many were re-sealed since it was told last
 */
export async function resealField(
  deps: { readonly keys: Pick<FieldKeys, 'primaryVersion' | 'sealer'>; readonly store: ResealStore },
  field: string,
  options: {
    /** What is re-sealed; `data` when absent. Of `quarantine` the field is '', and the store that of the quarantine. */
    readonly purpose?: 'data' | 'quarantine'
    readonly batch: number
    readonly perSecond?: number | undefined
    readonly signal: AbortSignal
    readonly onProgress: (originals: number) => void
  },
): Promise<Resealed> {
  const { keys, store } = deps
  const { purpose = 'data', batch, perSecond, signal, onProgress } = options
  const version = keys.primaryVersion(purpose, field)
  const to = { version, sealer: keys.sealer(purpose, field, version)! }
  const done = { resealed: 0, notAuthentic: 0, keyMissing: 0 }
  let after: TokenId | undefined
  // The next batch is read while the present one is written.
  const read = (start: TokenId | undefined) => store.readOthers(field, version, { after: start, limit: batch })
  let next = read(after)
  for (;;) {
    const startedAtMs = performance.now()
    const originals = await next
    after = originals.at(-1)?.tokenId
    if (after === undefined || signal.aborted) return done
    next = read(after)
    // A failure of this batch ends the work; then nobody waits for that of the next.
    next.catch(() => {})
    for (const [from, members] of Map.groupBy(originals, ({ dataKeyVersion }) => dataKeyVersion)) {
      const sealer = keys.sealer(purpose, field, from)
      if (sealer === undefined) {
        done.keyMissing += members.length
        continue
      }
      const results = resealOriginals(members, { version: from, sealer }, to)
      const authentic = results.filter((result): result is SealedOriginal => !('code' in result))
      done.notAuthentic += results.length - authentic.length
      done.resealed += await store.replace(authentic, from)
    }
    onProgress(originals.length)
    if (perSecond !== undefined) {
      const leastMs = (originals.length / perSecond) * 1000
      await pause(Math.max(0, leastMs - (performance.now() - startedAtMs)), signal)
    }
  }
}
