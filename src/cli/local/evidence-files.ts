import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { TokenvaultError } from '../../errors.ts'
import { createNoteVerifier, type NoteVerifier } from '../../tlog/signed-note.ts'
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
export function readVerifierKey(key: string | undefined, dataDir: string): NoteVerifier | undefined {
  if (key !== undefined) return makeVerifier(looksLikeKey(key) ? key : readTextFile(key, '--key'))
  const path = join(dataDir, verifierKeyFile)
  return isThere(path) ? makeVerifier(readTextFile(path, '--data-dir')) : undefined
}

/** As readVerifierKey, where nothing can be done without. @throws TokenvaultError `usage` */
export function needVerifierKey(key: string | undefined, dataDir: string): NoteVerifier {
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

function makeVerifier(text: string): NoteVerifier {
  try {
    return createNoteVerifier(text.trim())
  } catch (cause) {
    throw new TokenvaultError('usage', 'that is not a verifier key', { cause })
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
  if (!isDirectory(directory)) return []
  const names = readdirSync(directory).filter(name => name.endsWith('.note') && !name.startsWith('.'))
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
