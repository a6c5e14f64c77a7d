import {
  closeSync,
  createReadStream,
  fdatasyncSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  rmdirSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { takeFileLock } from '../../embedded/file-lock.ts'
import { TokenvaultError } from '../../errors.ts'
import { describeUnreadable } from '../terminal/failure.ts'
import { fileInvalid, type Replacement, type TakeReplacements } from './column-file.ts'
import { type Fingerprint, matchesFingerprint, takeFingerprint } from './fingerprint.ts'

/** What became of a cell: its token; or why it has none. No value is ever one. */
export type Outcome =
  | { readonly token: string }
  | { readonly kept: 'empty' | 'token' }
  | { readonly none: 'placeholder' }
  | { readonly invalid: string; readonly place: number }

export interface Counts {
  readonly tokenized: number
  readonly empty: number
  readonly placeholders: number
  readonly alreadyTokens: number
  readonly invalid: number
}

/** What an import is, so that another one does not go on with its progress. */
export interface ImportIdentity {
  readonly input: string
  readonly field: string
  readonly column: string
  readonly rows: number
}

interface Header extends Omit<ImportIdentity, 'input'> {
  readonly format: typeof progressFormat
  readonly input: Fingerprint
}

interface Commit {
  readonly rows: number
  readonly counts: Counts
  readonly invalid: readonly { readonly place: number; readonly code: string }[]
}

const progressFormat = 'tokenvault-import/1'
/** The lock goes last, so that nobody begins while the others are removed. */
const names = { progress: 'progress', result: 'result', lock: 'lock' } as const

/**
 * Invalid cells whose places are kept. So many say that the column is another one than was meant; and where they are to be left
 * empty, there may be a million.
 */
export const mostNamedPlaces = 100

/** Marks of cells that have no token; no token is one character. */
const mark = { kept: '=', none: '-', invalid: '!' } as const

/**
 * What an import has done so far: a folder of mode 0700 beside the result, or beside the input where there is no result. It
 * holds a lock, a file with a line for each row (its token, or a mark) and after each batch a line with counts, and the
 * result while it is written. A process that is killed leaves whole batches, and half of one that is cut off.
 */
export interface Progress {
  /** Rows of whole batches. */
  rows(): number
  counts(): Counts
  /** The first ones, up to mostNamedPlaces. */
  invalid(): Commit['invalid']
  /** Where the result is written before it gets its name. */
  readonly resultPath: string
  /** Returns when the batch would survive that the machine loses power. */
  add(outcomes: readonly Outcome[]): void
  /** Replacements from the first row on. */
  replay(): TakeReplacements
  /** Removes the folder. */
  remove(): void
  /** Lets another process go on; where no batch is done, nothing stays. */
  close(): void
}

/** Whether an import of this place has begun and not ended. */
export function hasProgress(folder: string): boolean {
  return lstatSync(join(folder, names.progress), { throwIfNoEntry: false }) !== undefined
}

/**
 * Locks the folder, and goes on where the last process on it stopped.
 *
 * @param restart forgets what is there
 * @throws TokenvaultError `import_running`, `import_changed`; `usage` where nothing can be written there
 */
export async function openProgress(folder: string, identity: ImportIdentity, restart: boolean): Promise<Progress> {
  const lock = lockFolder(folder)
  try {
    const path = join(folder, names.progress)
    if (restart) rmSync(path, { force: true })
    rmSync(join(folder, names.result), { force: true })
    const found = restart || !hasProgress(folder) ? undefined : await readProgress(path, identity)
    return await continueProgress(folder, identity, found, lock.release)
  } catch (error) {
    lock.release()
    throw error
  }
}

function lockFolder(folder: string) {
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST'))
      throw new TokenvaultError('usage', `nothing can be written beside the result: it ${describeUnreadable(cause)}`, {
        cause,
      })
  }
  const { uid, mode } = lstatSync(folder)
  const isOurs =
    lstatSync(folder).isDirectory() &&
    (process.getuid === undefined || (uid === process.getuid() && (mode & 0o077) === 0))
  if (!isOurs)
    throw new TokenvaultError('usage', `${folder} is not a private folder of yours; remove it, or name another --out`)
  const path = join(folder, names.lock)
  const lock = attemptLock(path)
  if (lock === undefined) throw new TokenvaultError('import_running', `another import is at work in ${folder}`)
  // Whoever ended meanwhile removed the folder, and with it the file that is locked here.
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) return lock
  lock.release()
  throw new TokenvaultError('import_running', `another import in ${folder} has just ended`)
}

function attemptLock(path: string) {
  try {
    return takeFileLock(path)
  } catch (cause) {
    throw new TokenvaultError('usage', 'the folder of the progress cannot be written', { cause })
  }
}

interface Found extends Commit {
  /** Behind the last whole batch. */
  readonly bytes: number
}

/** @throws TokenvaultError `import_changed` */
async function readProgress(path: string, identity: ImportIdentity): Promise<Found | undefined> {
  let bytes = 0
  let at = 0
  let found: Commit | undefined
  let header: Header | undefined
  const invalid: Commit['invalid'][number][] = []
  for await (const line of readLines(path)) {
    at += line.length + 1
    if (header === undefined) {
      header = parseLine<Header>(line)
      if (header?.format !== progressFormat) return undefined
      await checkIdentity(header, identity)
      bytes = at
    } else if (line.startsWith('{')) {
      const commit = parseLine<Commit>(line)
      if (commit === undefined) break
      found = commit
      invalid.push(...commit.invalid.slice(0, mostNamedPlaces - invalid.length))
      bytes = at
    }
  }
  return header === undefined ? undefined : { ...(found ?? { rows: 0, counts: noCounts }), invalid, bytes }
}

const noCounts: Counts = { tokenized: 0, empty: 0, placeholders: 0, alreadyTokens: 0, invalid: 0 }

async function checkIdentity(header: Header, { input, field, column, rows }: ImportIdentity): Promise<void> {
  if (header.field !== field || header.column !== column)
    throw new TokenvaultError('import_changed', 'the import that is to be continued is of another field or column')
  if (header.rows !== rows || !(await matchesFingerprint(input, header.input)))
    throw new TokenvaultError('import_changed', 'the input was changed since the import began')
}

/** Lines that are whole: what stands behind the last line break was cut off. */
async function* readLines(path: string): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of createReadStream(path, { encoding: 'latin1', highWaterMark: 256 * 1024 })) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    yield* lines
  }
}

function parseLine<T>(line: string): T | undefined {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

async function continueProgress(
  folder: string,
  identity: ImportIdentity,
  found: Found | undefined,
  release: () => void,
): Promise<Progress> {
  const path = join(folder, names.progress)
  const file = openSync(path, found === undefined ? 'w' : 'r+', 0o600)
  let at = found?.bytes ?? 0
  ftruncateSync(file, at)
  const append = (text: string) => {
    const bytes = Buffer.from(text, 'latin1')
    for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, at + done)
    at += bytes.length
    fdatasyncSync(file)
  }
  if (found === undefined) {
    const { input, ...rest } = identity
    // ASCII only, as is everything in this file: a column's name may hold any letter.
    append(`${ascii(JSON.stringify({ format: progressFormat, ...rest, input: await takeFingerprint(input) }))}\n`)
  }
  let state: Commit = found ?? { rows: 0, counts: noCounts, invalid: [] }
  let isRemoved = false
  const remove = () => {
    if (isRemoved) return
    isRemoved = true
    for (const name of Object.values(names)) rmSync(join(folder, name), { force: true })
    // Something of somebody else may stand there.
    try {
      rmdirSync(folder)
    } catch {}
  }
  return {
    rows: () => state.rows,
    counts: () => state.counts,
    invalid: () => state.invalid,
    resultPath: join(folder, names.result),
    add(outcomes) {
      const counts = addCounts(state.counts, outcomes)
      const invalid = outcomes.flatMap(outcome =>
        'invalid' in outcome ? [{ place: outcome.place, code: outcome.invalid }] : [],
      )
      const named = invalid.slice(0, mostNamedPlaces - state.invalid.length)
      const commit = { rows: state.rows + outcomes.length, counts, invalid: named }
      append(`${outcomes.map(outcome => `${lineOf(outcome)}\n`).join('')}${JSON.stringify(commit)}\n`)
      state = { ...commit, invalid: [...state.invalid, ...named] }
    },
    replay: () => createReplay(path),
    remove,
    close() {
      if (state.rows === 0) remove()
      closeSync(file)
      release()
    },
  }
}

function ascii(text: string): string {
  return text.replace(/[^ -~]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function lineOf(outcome: Outcome): string {
  if ('token' in outcome) return outcome.token
  return 'kept' in outcome ? mark.kept : 'none' in outcome ? mark.none : mark.invalid
}

function addCounts(counts: Counts, outcomes: readonly Outcome[]): Counts {
  const sum = { ...counts }
  for (const outcome of outcomes) {
    if ('token' in outcome) sum.tokenized++
    else if ('none' in outcome) sum.placeholders++
    else if ('invalid' in outcome) sum.invalid++
    else if (outcome.kept === 'empty') sum.empty++
    else sum.alreadyTokens++
  }
  return sum
}

/** A value that is invalid becomes empty: who wants it refused does not get here. */
function createReplay(path: string): TakeReplacements {
  const lines = readLines(path)
  return async count => {
    const replacements: Replacement[] = []
    while (replacements.length < count) {
      const { value: line, done } = await lines.next()
      if (done === true) throw fileInvalid('the progress holds fewer rows than the input; run with --restart')
      if (line.startsWith('{')) continue
      replacements.push(line === mark.kept ? undefined : line === mark.none || line === mark.invalid ? null : line)
    }
    return replacements
  }
}
