import { TokenvaultError } from '../errors.ts'
import { formatNote, type NoteSigner, type NoteVerifier, openNote } from '../tlog/signed-note.ts'
import type { Column } from './columns.ts'

/** What a file of an archive holds. */
export interface ManifestFile {
  /** `public.user_logins`. */
  readonly table: string
  /** Below the target: `user_logins/month=2025-11/part-1-1.parquet`. */
  readonly name: string
  readonly rows: number
  readonly bytes: number
  /** 64 hexadecimal digits. */
  readonly sha256: string
  /** Of the rows, in whatever order, as RowDigest gives it. */
  readonly rowDigest: string
  readonly columns: readonly Column[]
}

/** Everything of one part of a month. */
export interface Manifest {
  /** `2025-11`. */
  readonly month: string
  readonly part: number
  readonly revision: number
  /** RFC 3339. */
  readonly madeAt: string
  readonly files: readonly ManifestFile[]
}

/** A signature on a manifest is none on a checkpoint: those begin with the name of the log. */
const firstLine = 'tokenvault.archive/v1'

/** The manifest as a signed note: what it is, one line of JSON, and the signature of the log's key. */
export function signManifest(manifest: Manifest, signer: NoteSigner): string {
  const text = `${firstLine}\n${JSON.stringify(manifest)}\n`
  return formatNote(text, [{ name: signer.name, signature: signer.sign(text) }])
}

/**
 * @param verifiers of the log's keys, old ones too
 * @param name for the failure
 * @throws TokenvaultError `archive_changed` unless one of them signed it
 */
export function openManifest(note: string, verifiers: readonly NoteVerifier[], name: string): Manifest {
  for (const verifier of verifiers) {
    const text = openWith(note, verifier)
    if (text?.startsWith(`${firstLine}\n`)) return JSON.parse(text.slice(firstLine.length + 1)) as Manifest
  }
  throw new TokenvaultError('archive_changed', `${name} is not signed by a key of this vault`)
}

function openWith(note: string, verifier: NoteVerifier): string | undefined {
  try {
    return openNote(note, verifier)
  } catch {
    return undefined
  }
}

/** Where the manifest stands below the target. Readers of Hive directories pass over names with an underscore. */
export function manifestName({ month, part, revision }: Pick<Manifest, 'month' | 'part' | 'revision'>): string {
  return `_manifests/month=${month}/part-${part}-${revision}.note`
}

/** Where the rows of a table stand below the target. */
export function fileName(table: string, of: Pick<Manifest, 'month' | 'part' | 'revision'>): string {
  return `${table.slice(table.indexOf('.') + 1)}/month=${of.month}/part-${of.part}-${of.revision}.parquet`
}
