import { closeSync, existsSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseToken } from '../../crypto/token.ts'
import { TokenvaultError } from '../../errors.ts'
import { batchLimits, bytesInCall } from '../local/read-values.ts'
import type { Cell, ColumnFile } from './column-file.ts'
import { versionOf } from './fingerprint.ts'
import { type FileOptions, findPlaces, type OpenedFile, openFile } from './open-file.ts'
import { type Counts, hasProgress, mostNamedPlaces, openProgress, type Progress } from './progress.ts'
import { type StoreOptions, storeCells } from './store-values.ts'
import { type TokenFormat, type Verification, verifyResult } from './verify-result.ts'

export interface ImportOptions extends FileOptions, StoreOptions {
  readonly out?: string
  /** Rows of one call, at most. */
  readonly batch: number
  readonly onInvalid: 'refuse' | 'null'
  readonly restart: boolean
  readonly verify: boolean
  readonly tokenFormat: TokenFormat
}

export interface ImportReport {
  readonly rows: number
  /** Absent where nothing was stored now: the result was there, and was verified. */
  readonly counts?: Counts
  /** As it was given. */
  readonly out?: string
  readonly verification?: Verification
}

/** Told how far an import is, for a person who waits. */
export interface ImportWatcher {
  /** @param done rows of `total` */
  progress(done: number, total: number, unit: 'rows stored' | 'rows verified'): void
  tell(text: string): void
}

/**
 * Stores the column of a file, batch after batch, and writes the file with tokens in its place. Nothing is stored before all of
 * the file has been read; the result is there whole or not at all, and with `verify` only once it is proven.
 *
 * @throws TokenvaultError with the codes that begin with `import_`, `usage`, `api_unavailable`, `api_refused`
 */
export async function runImport(path: string, options: ImportOptions, watcher: ImportWatcher): Promise<ImportReport> {
  const { input, out } = findPlaces(path, options.out)
  const file = openFile(input, options)
  const folder = `${out ?? input}.import`
  if (options.verify && out === undefined) throw new TokenvaultError('usage', '--verify is about the file of --out')
  const hasResult = out !== undefined && existsSync(out)
  const version = versionOf(input)
  const rows = await file.check()
  if (hasResult && !options.restart && !hasProgress(folder)) {
    if (!options.verify)
      throw new TokenvaultError('usage', '--out is there already; --verify checks it, and --restart makes it anew')
    return { rows, out: options.out!, verification: await verify(file, file.openSame(out), rows, options, watcher) }
  }
  const { field, column } = options
  const progress = await openProgress(folder, { input, field, column, rows }, options.restart)
  try {
    if (hasResult && !options.restart && progress.rows() < rows)
      throw new TokenvaultError('usage', '--out is there already, and is not of this import; name another file')
    if (progress.rows() > 0 && progress.rows() < rows) await checkSameVault(file, progress, options, watcher)
    await storeColumn(file, rows, progress, options, watcher)
    checkInvalid(progress, file.placeName, options)
    const verification = out === undefined ? undefined : await prepareResult(file, rows, progress, options, watcher)
    if (versionOf(input) !== version)
      throw new TokenvaultError('import_changed', 'the input was changed while it was imported')
    if (out !== undefined) rename(progress.resultPath, out)
    progress.remove()
    const report = { rows, counts: progress.counts() }
    return {
      ...report,
      ...(options.out !== undefined && { out: options.out }),
      ...(verification !== undefined && { verification }),
    }
  } catch (error) {
    if (progress.rows() > 0 && progress.rows() < rows)
      watcher.tell(`${progress.rows()} of ${rows} rows are done; run the same command again to continue`)
    throw error
  } finally {
    progress.close()
  }
}

async function storeColumn(
  file: ColumnFile,
  rows: number,
  progress: Progress,
  options: ImportOptions,
  watcher: ImportWatcher,
): Promise<void> {
  const store = async (cells: readonly Cell[]) => {
    progress.add(await storeCells(cells, options, progress.rows() === 0, watcher.tell))
    watcher.progress(progress.rows(), rows, 'rows stored')
  }
  const mayGoOn = () => options.onInvalid === 'null' || progress.counts().invalid < mostNamedPlaces
  let batch: Cell[] = []
  let bytes = 0
  for await (const cells of file.cells(progress.rows())) {
    for (const cell of cells) {
      batch.push(cell)
      bytes += cell.text === undefined ? 0 : bytesInCall(cell.text)
      if (batch.length < options.batch && bytes < batchLimits.bytes) continue
      if (!mayGoOn()) return
      await store(batch)
      batch = []
      bytes = 0
    }
  }
  if (batch.length > 0 && mayGoOn()) await store(batch)
}

/**
 * Stores the first value that has a token once more, which changes nothing: another vault would give it another token of the same
 * version, and tokens of the rest would stand in the result beside those that this vault knows nothing of. Other formats name no
 * version, so that a rotated key and another vault look alike.
 *
 * @throws TokenvaultError `import_changed`; as storeCells
 */
async function checkSameVault(
  file: ColumnFile,
  progress: Progress,
  options: ImportOptions,
  { tell }: ImportWatcher,
): Promise<void> {
  const take = progress.replay()
  let left = progress.rows()
  for await (const portion of file.cells(0)) {
    const cells = portion.slice(0, left)
    left -= cells.length
    const tokens = await take(cells.length)
    const place = tokens.findIndex(token => typeof token === 'string')
    if (place !== -1) {
      const [now] = await storeCells([cells[place]!], options, false, tell)
      const [given, before] = [now !== undefined && 'token' in now ? now.token : '', tokens[place]!]
      const version = parseToken(before)?.keyVersion
      if (version !== undefined && parseToken(given)?.keyVersion === version && given !== before)
        throw new TokenvaultError(
          'import_changed',
          'the API is of another vault than the one that the import began with',
        )
    }
    if (place !== -1 || left === 0) return
  }
}

/** Where invalid values are refused: names the first places, and no value. */
function checkInvalid(progress: Progress, placeName: string, { onInvalid }: ImportOptions): void {
  const invalid = progress.invalid()
  if (invalid.length === 0 || onInvalid === 'null') return
  const named = invalid.slice(0, 20).map(({ place, code }) => `${place} (${code})`)
  const more = progress.counts().invalid - named.length
  const others = more > 0 ? `, and ${more} others` : ''
  throw new TokenvaultError(
    'import_values_invalid',
    `values of the column were refused in ${placeName} ${named.join(', ')}${others}`,
  )
}

/** Writes the result under a name of its own, and proves it there where that is asked for. */
async function prepareResult(
  file: OpenedFile,
  rows: number,
  progress: Progress,
  options: ImportOptions,
  watcher: ImportWatcher,
): Promise<Verification | undefined> {
  await writeResult(file, progress)
  return options.verify ? verify(file, file.openSame(progress.resultPath), rows, options, watcher) : undefined
}

async function writeResult(file: ColumnFile, progress: Progress): Promise<void> {
  const result = openSync(progress.resultPath, 'wx', 0o600)
  try {
    for await (const bytes of file.rewrite(progress.replay()))
      for (let done = 0; done < bytes.length; ) done += writeSync(result, bytes, done)
    fsyncSync(result)
  } finally {
    closeSync(result)
  }
}

/** Durable: a machine that loses power has the result or not, and never half of it. */
function rename(from: string, to: string): void {
  renameSync(from, to)
  const folder = openSync(dirname(to), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

/** @throws TokenvaultError `import_unproven` */
async function verify(
  input: ColumnFile,
  result: ColumnFile,
  rows: number,
  options: ImportOptions,
  watcher: ImportWatcher,
): Promise<Verification> {
  const found = await verifyResult(input, result, options, done => watcher.progress(done, rows, 'rows verified'))
  if (found.problemCount === 0) return found
  const more = found.problemCount - found.problems.length
  for (const problem of found.problems) watcher.tell(problem)
  throw new TokenvaultError(
    'import_unproven',
    `${found.problemCount} ${found.problemCount === 1 ? 'place is' : 'places are'} not as they must be${more > 0 ? `; the first ${found.problems.length} are named` : ''}`,
  )
}
