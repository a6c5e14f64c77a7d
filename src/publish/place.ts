import { TokenvaultError } from '../errors.ts'

/** A file that is read in parts. */
export interface PlacedFile {
  readonly byteLength: number
  slice(start: number, end?: number): Promise<ArrayBuffer>
}

/**
 * Where large files are kept below one URL. Names hold slashes and no dots of their own that lead elsewhere. All throw
 * TokenvaultError `archive_unavailable`, by a short name of the fault and no path.
 */
export interface FilePlace {
  /** The whole file under the name, or nothing, however this ends; what stood there is replaced. */
  write(name: string, chunks: AsyncIterable<Uint8Array>): Promise<void>
  /** Undefined where there is none. */
  open(name: string): Promise<PlacedFile | undefined>
  /** Whether there was one or not. */
  remove(name: string): Promise<void>
  close(): void
}

/** @returns TokenvaultError `archive_unavailable` */
export function placeError(doing: string, error: unknown): TokenvaultError {
  if (error instanceof TokenvaultError) return error
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  const name = error instanceof Error && error.name !== 'Error' ? error.name : code
  const isName = typeof name === 'string' && /^[A-Za-z][A-Za-z0-9_.]{0,63}$/.test(name)
  return new TokenvaultError('archive_unavailable', `${doing}: ${isName ? name : 'UnknownError'}`)
}

/** The text of a small file. @throws TokenvaultError `archive_unavailable`, also where there is none */
export async function readText(place: FilePlace, name: string): Promise<string> {
  const file = await place.open(name)
  if (file === undefined) throw new TokenvaultError('archive_unavailable', `${name} is not there`)
  return Buffer.from(await file.slice(0, file.byteLength)).toString('utf8')
}
