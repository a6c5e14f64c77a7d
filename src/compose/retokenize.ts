import { pause } from '../concurrency/waiting.ts'
import { TokenvaultError } from '../errors.ts'
import type { TokenvaultDatabase } from '../store/postgres/database.ts'
import { whileLocked } from '../store/postgres/while-locked.ts'
import { columnOf, createRetokenizeRows, createRetokenizeStore, type TokenMove } from '../store/retokenize.ts'
import { derivedFields, type FieldSchema } from '../vault/fields/fields.ts'
import type { FieldKeys } from '../vault/keys/field-keys.ts'
import type { TokenId } from '../vault/tokens/ports.ts'
import { retokenizeOriginals } from '../vault/tokens/retokenize.ts'

/** What was done by one run. */
export interface Retokenized {
  originals: number
  rows: number
  networks: number
  deleted: number
  /** Left as they are. */
  notAuthentic: number
  /** Left because a key of them is disabled or destroyed. */
  keyMissing: number
  /** Whether nothing of an earlier token key is left. */
  isWhole: boolean
}

export interface RetokenizeOptions {
  /** Originals, and about as many rows, in one transaction. */
  readonly batch: number
  /** Most originals or rows in a second. */
  readonly perSecond?: number | undefined
  readonly signal: AbortSignal
  readonly onProgress: (step: 'originals' | 'rows', count: number) => void
}

/** About as many rows of user_logins stand in a block of 8 kB. */
const rowsPerBlock = 60

/**
 * Replaces the tokens of every token key of the field that was moved away from: originals and aliases first, so that each old token
 * opens by its alias; then rows; and once a pass over all of them finds nothing, the old originals go. Every batch is one
 * transaction, so that it can be stopped at any point and started again.
 *
 * @throws TokenvaultError `field_unknown`, `retokenize_running`, `keys_changed`, `token_collision`, `store_unavailable`
 */
export function retokenizeField(
  deps: { readonly database: TokenvaultDatabase; readonly keys: FieldKeys; readonly fields: FieldSchema },
  field: string,
  options: RetokenizeOptions,
): Promise<Retokenized> {
  const { database, fields } = deps
  if (!fields.has(field)) throw new TokenvaultError('field_unknown')
  const refuse = () => new TokenvaultError('retokenize_running', `tokens of ${field}`)
  return whileLocked(database, `tokenvault/retokenize/${field}`, refuse, async () => {
    const job = createJob(deps, field, options)
    const moves = await createRetokenizeStore(database).readMoves(field)
    for (const move of moves) if (!options.signal.aborted) await job.run(move)
    return job.done
  })
}

function createJob(
  { database, keys, fields }: Parameters<typeof retokenizeField>[0],
  field: string,
  { batch, perSecond, signal, onProgress }: RetokenizeOptions,
) {
  const store = createRetokenizeStore(database)
  const rows = createRetokenizeRows(database)
  const done: Retokenized = {
    ...{ originals: 0, rows: 0, networks: 0, deleted: 0, notAuthentic: 0, keyMissing: 0 },
    isWhole: true,
  }
  const pace = async (count: number, startedAtMs: number) => {
    if (perSecond === undefined) return
    await pause(Math.max(0, (count / perSecond) * 1000 - (performance.now() - startedAtMs)), signal)
  }

  const moveOriginals = async (move: TokenMove): Promise<number> => {
    let [after, moved]: [TokenId | undefined, number] = [undefined, 0]
    done.notAuthentic = 0
    done.keyMissing = 0
    while (!signal.aborted) {
      const startedAtMs = performance.now()
      const earlier = await store.readOriginals(move, { after, limit: batch })
      after = earlier.at(-1)?.tokenId
      if (after === undefined) break
      const leading = await store.readAliasesTo(earlier.map(({ tokenId }) => tokenId))
      const made = retokenizeOriginals(keys, fields.get(field)!, earlier, { from: move.version, leading })
      if (made.originals.length > 0) await store.storeSuccessors(made)
      done.notAuthentic += made.notAuthentic
      done.keyMissing += made.keyMissing
      moved += made.originals.length
      onProgress('originals', earlier.length)
      await pace(earlier.length, startedAtMs)
    }
    done.originals += moved
    return moved
  }

  const moveRows = async (move: TokenMove): Promise<number> => {
    const column = columnOf(fields, field)
    let moved = 0
    for (const place of column === undefined ? [] : await rows.findPlaces(column, fields.get(field)!.format)) {
      const step = Math.max(1, Math.round(batch / rowsPerBlock))
      const blocks = await rows.countBlocks(place)
      for (let from = 0; from < blocks && !signal.aborted; from += step) {
        const startedAtMs = performance.now()
        const changed = await rows.moveRows(place, move, { from, to: Math.min(from + step, blocks) })
        moved += changed
        onProgress('rows', changed)
        await pace(changed, startedAtMs)
      }
    }
    done.rows += moved
    return moved
  }

  const moveNetworks = async (step: 'copy' | 'delete' | 'network'): Promise<number> => {
    let [after, moved]: [string | undefined, number] = [undefined, 0]
    while (!signal.aborted) {
      const page = await rows.moveNetworks(step, field, { after, limit: batch })
      moved += page.changed
      after = page.last
      if (after === undefined) break
    }
    if (step !== 'copy') done.networks += moved
    return moved
  }

  const derived = derivedFields(fields)
  const isSource = derived.some(({ derivedFrom }) => derivedFrom === field)
  const isDerived = derived.some(({ name }) => name === field)
  const pass = async (move: TokenMove): Promise<number> => {
    let moved = await moveOriginals(move)
    // Networks of the new tokens before there are rows with them, so that no join misses one.
    if (isSource) await moveNetworks('copy')
    moved += await moveRows(move)
    if (isSource) moved += await moveNetworks('delete')
    if (isDerived) moved += await moveNetworks('network')
    return moved
  }

  const run = async (move: TokenMove) => {
    // A process that was slow to learn of the new key still writes with the old one: until nothing is found.
    while ((await pass(move)) > 0 && !signal.aborted);
    let after: TokenId | undefined
    while (!signal.aborted) {
      const { deleted, last } = await store.deleteOriginals(move, { after, limit: batch })
      done.deleted += deleted
      after = last
      if (after === undefined) break
    }
    if (signal.aborted || !(await store.endMove(move))) done.isWhole = false
  }
  return { run, done }
}
