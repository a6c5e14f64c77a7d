import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { TokenvaultError } from '../../errors.ts'
import { type LogVerifier, readLogKeys } from '../../tlog/key-history.ts'
import type { ExternalCheckpoint } from '../../vault/evidence/verify/expected-roots.ts'
import { describeUnreadable } from '../terminal/failure.ts'

/** Where `tokenvault up` keeps the verifier key of its log, in its data directory. */
export const verifierKeyFile = 'audit.vkey'

/**
 * The verifier key that `--key` gives, as text or in a file; without it that of the `tokenvault up` on the directory.
 *
 * @returns undefined where neither is there
 * @throws TokenvaultError `usage`
 */
export function readVerifierKey(key: string | undefined, dataDir: string): LogVerifier | undefined {
  if (key !== undefined) return makeVerifier(looksLikeKey(key) ? key : readTextFile(key, '--key'))
  const text = readKeptKeys(dataDir)
  return text === undefined ? undefined : makeVerifier(text)
}

/**
 * What `tokenvault up` keeps of the keys of its log: those of when it was started, and every hand-over that was published since.
 *
 * @returns undefined where it keeps none
 * @throws TokenvaultError `usage`
 */
export function readKeptKeys(dataDir: string): string | undefined {
  const path = join(dataDir, verifierKeyFile)
  if (!isThere(path)) return undefined
  const text = readTextFile(path, '--data-dir')
  const notes = readNamed(join(dataDir, 'checkpoints'), '.hand-over').map(({ note }) => note)
  return [text, ...notes.filter(note => !text.includes(note))].join('\n')
}

/** As readVerifierKey, where nothing can be done without. @throws TokenvaultError `usage` */
export function needVerifierKey(key: string | undefined, dataDir: string): LogVerifier {
  const verifier = readVerifierKey(key, dataDir)
  if (verifier === undefined)
    throw new TokenvaultError(
      'usage',
      'no verifier key is known here; give --key with what `tokenvault audit key` prints',
    )
  return verifier
}

/** `<name>+<8 digits>+<base64>`, and no path. */
function looksLikeKey(text: string): boolean {
  return /^[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*$/.test(text)
}

function makeVerifier(text: string): LogVerifier {
  try {
    return readLogKeys(text)
  } catch (cause) {
    const why = cause instanceof TokenvaultError ? `: ${cause.message}` : ''
    throw new TokenvaultError('usage', `that is not a verifier key${why}`, { cause })
  }
}

/**
 * Checkpoints that were kept outside the database.
 *
 * @param paths files that hold one signed note, or the lines that the API wrote to standard output; directories, of
 *   which all `*.note` are read
 * @throws TokenvaultError `usage` for what cannot be read, and for a directory or a file without any
 */
export function readKeptCheckpoints(paths: readonly string[]): ExternalCheckpoint[] {
  return paths.flatMap(path => {
    const found = isDirectory(path) ? readCheckpointFolder(path) : readNotes(path)
    if (found.length === 0) throw new TokenvaultError('usage', '--checkpoint names something that holds no checkpoint')
    return found
  })
}

/** All `*.note` of a directory, by name; none where there is no such directory. @throws TokenvaultError `usage` */
export function readCheckpointFolder(directory: string): ExternalCheckpoint[] {
  return readNamed(directory, '.note')
}

function readNamed(directory: string, end: string): ExternalCheckpoint[] {
  if (!isDirectory(directory)) return []
  const names = readdirSync(directory).filter(name => name.endsWith(end) && !name.startsWith('.'))
  return names.sort().map(name => {
    const source = join(directory, name)
    return { source, note: readTextFile(source, '--checkpoint') }
  })
}

function readNotes(path: string): ExternalCheckpoint[] {
  const text = readTextFile(path, '--checkpoint')
  if (!text.startsWith('{')) return [{ source: path, note: text }]
  return text.split('\n').flatMap((line, index) => {
    const note = noteOfLine(line)
    return note === undefined ? [] : [{ source: `${path}:${index + 1}`, note }]
  })
}

/** Among log lines of any kind. */
function noteOfLine(line: string): string | undefined {
  if (!line.includes('"checkpoint"')) return undefined
  try {
    const { event, note } = JSON.parse(line)
    return event === 'checkpoint' && typeof note === 'string' ? note : undefined
  } catch {
    return undefined
  }
}

/** @param path a file, or `-` for standard input @throws TokenvaultError `usage` */
export function readJsonFile(path: string, what: string): unknown {
  try {
    return JSON.parse(readTextFile(path === '-' ? 0 : path, what))
  } catch (cause) {
    if (cause instanceof TokenvaultError) throw cause
    throw new TokenvaultError('usage', `${what} is not JSON`, { cause })
  }
}

/** Byte for byte what was written, or refused: a character that is replaced would break every hash. */
export function readTextFile(path: string | number, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(path))
  } catch (cause) {
    throw new TokenvaultError('usage', `${what} ${describeUnreadable(cause)}`, { cause })
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}
