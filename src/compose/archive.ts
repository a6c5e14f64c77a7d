import { createHash, hash, randomUUID } from 'node:crypto'
import type { Batch, Column } from '../archive/columns.ts'
import {
  fileName,
  type Manifest,
  type ManifestFile,
  manifestName,
  openManifest,
  signManifest,
} from '../archive/manifest.ts'
import { readParquet } from '../archive/read-parquet.ts'
import { RowDigest } from '../archive/row-digest.ts'
import { groupRows, writeParquet } from '../archive/write-parquet.ts'
import { databaseUrl, type Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { TokenvaultError } from '../errors.ts'
import { openFilePlace } from '../publish/file-places.ts'
import { type FilePlace, readText } from '../publish/place.ts'
import type { RecalledTokens } from '../store/archive-tokens.ts'
import {
  type ArchivePart,
  type ArchiveStore,
  createArchiveStore,
  type MonthSnapshot,
  type Row,
} from '../store/archives.ts'
import { createKeyReader } from '../store/keys.ts'
import { type MonthTable, monthTables, type Portion } from '../store/months.ts'
import { openCopySession } from '../store/postgres/copy-session.ts'
import { createDatabase } from '../store/postgres/database.ts'
import { createNoteVerifier, type NoteSigner, type NoteVerifier } from '../tlog/signed-note.ts'
import { describeArchiveEvent } from '../vault/admission/archive-event.ts'
import type { ArchiveEventType } from '../vault/admission/ports.ts'
import { FieldKeys } from '../vault/keys/field-keys.ts'
import { openKeyset } from '../vault/keys/wrapped-keys.ts'
import { composeAwsSettings } from './aws.ts'
import { openKek } from './kek.ts'
import { logName } from './vault.ts'

/** What moves whole months out of the database and back, with the owner's right. Each is an event of the evidence. */
export interface Archivist {
  readonly store: ArchiveStore
  readonly signer: NoteSigner
  /** Of every signing key that is held, earlier ones too. */
  readonly verifiers: readonly NoteVerifier[]
  openPlace(url: string): Promise<FilePlace>
  /** Rows that are held in memory at a time: a row group. */
  readonly batchRows: number
  /** Is told how many rows were read, written or checked since it was told last. */
  onProgress: (rows: number) => void
  close(): Promise<void>
}

/** @throws TokenvaultError `kek_unavailable`, `kek_mismatch`, `store_unavailable`, `keyset_incomplete` */
export async function openArchivist(config: Config<'migrate'>, environment: Environment): Promise<Archivist> {
  const kek = await openKek(config, environment)
  const url = databaseUrl(config)
  const database = createDatabase({
    url,
    poolMax: 4,
    applicationName: 'tokenvault archive',
    statementTimeoutMilliseconds: 3_600_000,
  })
  try {
    const keys = new FieldKeys(await openKeyset(createKeyReader(database), kek, config.TENANT), config.TENANT)
    return {
      store: createArchiveStore(database, () => openCopySession(url, 'tokenvault archive')),
      signer: keys.signer(logName(config)),
      verifiers: keys.signers(logName(config)).map(({ verifierKey }) => createNoteVerifier(verifierKey)),
      openPlace: url => openFilePlace(url, () => composeAwsSettings('s3', config, environment)),
      batchRows: groupRows,
      onProgress: () => {},
      close: () => database.destroy(),
    }
  } catch (error) {
    await database.destroy()
    throw error
  }
}

/** How often a month that was written to meanwhile is read anew. */
const attempts = 5

/**
 * Moves a month out of the database: its rows to files, which are read back and compared; then a signed manifest; then, in one
 * transaction, the rows are dropped, unless one was written since. Ended at any point it leaves all rows in the database, or all in
 * the files; begun again it writes the same files anew.
 *
 * @param target URL of the place
 * @throws TokenvaultError `archive_tokens_moving`, `archive_unavailable`, `archive_changed`, `store_unavailable`
 */
export async function archiveMonth(
  archivist: Archivist,
  place: FilePlace,
  { month, target }: { readonly month: string; readonly target: string },
): Promise<Manifest> {
  const { store, signer } = archivist
  const { part, revision } = await store.begin(month, target)
  const name = { month, part, revision }
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const { manifest, fingerprints } = await store.inSnapshot(month, async snapshot => {
      const files = await writeTables(archivist, place, snapshot, name)
      const madeAt = new Date().toISOString()
      return { manifest: { ...name, madeAt, files }, fingerprints: snapshot.fingerprints }
    })
    for (const file of manifest.files) await checkFile(archivist, place, file)
    const written = await writeManifest(place, manifest, signer)
    const event = await describe(archivist, 'rows_archive', [month], written.rows)
    if (await store.takeOut(name, written, fingerprints, event)) return manifest
  }
  throw new TokenvaultError('archive_running', `rows of ${month} are being written: it was read ${attempts} times`)
}

/** In the names of files; parts of archives begin at 1. */
const exportPart = 0

/**
 * Copies months to files as archiveMonth does, and takes nothing out of the database. Each month is whole or absent, and one that stood
 * there is replaced. The copies are recorded once all are there.
 *
 * @throws TokenvaultError `archive_unavailable`, `store_unavailable`
 */
export async function exportMonths(
  archivist: Archivist,
  { months, target }: { readonly months: readonly string[]; readonly target: string },
): Promise<readonly Manifest[]> {
  const { store, signer } = archivist
  const place = await archivist.openPlace(target)
  try {
    const manifests: Manifest[] = []
    for (const month of months) {
      const name = { month, part: exportPart, revision: 1 }
      const files = await store.inSnapshot(month, snapshot => writeTables(archivist, place, snapshot, name))
      for (const file of files) await checkFile(archivist, place, file)
      const manifest = { ...name, madeAt: new Date().toISOString(), files }
      await writeManifest(place, manifest, signer)
      manifests.push(manifest)
    }
    if (manifests.length === 0) return []
    const rows = manifests.reduce((sum, manifest) => sum + loginRows(manifest), 0)
    await store.recordExport({ months, target, rows }, await describe(archivist, 'rows_export', months, rows))
    return manifests
  } finally {
    place.close()
  }
}

/**
 * Brings a month back: every part of it that is archived, all or nothing, once its manifest and files are found to be as they were
 * written. The files stay.
 *
 * @param options.from where the files are now; where each part was archived to, when absent
 * @returns the number of rows of public.user_logins
 * @throws TokenvaultError `month_not_archived`, `archive_changed`, `archive_unavailable`, `store_unavailable`
 */
export async function recallMonth(
  archivist: Archivist,
  { month, from }: { readonly month: string; readonly from?: string | undefined },
): Promise<{ readonly rows: number; readonly parts: number; readonly tokens: RecalledTokens }> {
  const { store } = archivist
  const known = (await store.readParts()).filter(part => part.month === month)
  const parts = known.filter(({ state }) => state === 'archived')
  if (parts.length === 0) {
    const isBack = known.some(({ state }) => state === 'recalled')
    throw new TokenvaultError('month_not_archived', `${month} ${isBack ? 'was recalled before' : 'was never archived'}`)
  }
  const opened: { readonly place: FilePlace; readonly manifest: Manifest }[] = []
  try {
    for (const part of parts) {
      const place = await archivist.openPlace(from ?? part.target)
      const manifest = await readManifest(archivist, place, part)
      opened.push({ place, manifest })
      for (const file of manifest.files) await checkBytes(place, file)
    }
    const rows = opened.reduce((sum, { manifest }) => sum + loginRows(manifest), 0)
    const load = (table: MonthTable): readonly Portion[] =>
      opened.flatMap(({ place, manifest }) =>
        manifest.files
          .filter(each => each.table === table)
          .map(file => {
            return { columns: file.columns, batches: readRows(archivist, place, file) }
          }),
      )
    const event = await describe(archivist, 'rows_recall', [month], rows)
    const tokens = await store.putBack(month, parts, load, event)
    return { rows, parts: parts.length, tokens }
  } finally {
    for (const { place } of opened) place.close()
  }
}

/** What becomes of a row of an archive: it stays as it is, goes, or another stands in its place. */
export type RewriteRow = (table: MonthTable, row: Readonly<Record<string, Row[number]>>) => 'keep' | 'remove' | Row

/**
 * Rewrites the files of one part of a month, so that a person who is to be erased stands in none of them: new files and their manifest
 * under names of another revision, then in one transaction the record and the event, then the old files are removed. Ended at any
 * point the part is the old one or the new one; old files that are left are removed by the next call, or by `removeObsolete`.
 *
 * @returns how many rows were removed or replaced; with none nothing is written
 * @throws TokenvaultError `archive_changed`, `archive_unavailable`, `month_not_archived` where somebody else changed the part
 */
export async function eraseFromArchive(archivist: Archivist, part: ArchivePart, rewrite: RewriteRow): Promise<number> {
  const { store, signer } = archivist
  const place = await archivist.openPlace(part.target)
  try {
    const old = await readManifest(archivist, place, part)
    const name = { month: part.month, part: part.part, revision: part.revision + 1 }
    let changed = 0
    const files: ManifestFile[] = []
    for (const file of old.files) {
      await checkFile(archivist, place, file)
      const table = file.table as MonthTable
      const rows = rewritten(await openFile(place, file), file, (record, row) => {
        const become = rewrite(table, record)
        if (become !== 'keep') changed++
        return become === 'keep' ? row : become
      })
      const made = await writeFile(archivist, place, { ...file, table, name: fileName(table, name), rows })
      if (made !== undefined) files.push(made)
    }
    if (changed === 0) {
      for (const file of files) await place.remove(file.name)
      return 0
    }
    for (const file of files) await checkFile(archivist, place, file)
    const manifest = { ...name, madeAt: new Date().toISOString(), files }
    const written = await writeManifest(place, manifest, signer)
    const obsolete = [...old.files.map(file => file.name), manifestName(old)]
    await store.revise(part, { ...written, obsolete }, await describe(archivist, 'rows_rewrite', [part.month], changed))
    await removeObsolete(archivist, { ...part, obsolete: [...part.obsolete, ...obsolete] })
    return changed
  } finally {
    place.close()
  }
}

/** Removes files that an earlier rewriting left behind. */
export async function removeObsolete(archivist: Archivist, part: ArchivePart): Promise<void> {
  if (part.obsolete.length === 0) return
  const place = await archivist.openPlace(part.target)
  try {
    for (const name of part.obsolete) await place.remove(name)
    await archivist.store.forgetObsolete(part)
  } finally {
    place.close()
  }
}

async function* rewritten(
  content: Awaited<ReturnType<typeof openFile>>,
  file: ManifestFile,
  change: (record: Readonly<Record<string, Row[number]>>, row: Row) => Row | 'remove',
): AsyncGenerator<Batch> {
  for await (const { rows, columns } of readParquet(content, file.columns, file.name)) {
    const kept: Row[] = []
    for (let at = 0; at < rows; at++) {
      const row = columns.map(values => values[at]!)
      const become = change(Object.fromEntries(file.columns.map(({ name }, place) => [name, row[place]!])), row)
      if (become !== 'remove') kept.push(become)
    }
    yield { rows: kept.length, columns: columns.map((_, place) => kept.map(row => row[place]!)) }
  }
}

export function loginRows({ files }: Pick<Manifest, 'files'>): number {
  return files.reduce((sum, file) => sum + (file.table === 'public.user_logins' ? file.rows : 0), 0)
}

async function writeTables(
  archivist: Archivist,
  place: FilePlace,
  snapshot: MonthSnapshot,
  of: Parameters<typeof fileName>[1],
): Promise<readonly ManifestFile[]> {
  const files: ManifestFile[] = []
  for (const table of monthTables) {
    const columns = await archivist.store.columnsOf(table)
    const rows = snapshot.read(table, columns, archivist.batchRows)
    const file = await writeFile(archivist, place, { table, columns, name: fileName(table, of), rows })
    if (file !== undefined) files.push(file)
  }
  return files
}

/** @returns undefined where there were no rows: there is no file then */
async function writeFile(
  archivist: Archivist,
  place: FilePlace,
  file: {
    readonly table: MonthTable
    readonly columns: readonly Column[]
    readonly name: string
    readonly rows: AsyncIterable<Batch>
  },
): Promise<ManifestFile | undefined> {
  const { table, columns, name } = file
  const digest = new RowDigest()
  const sha256 = createHash('sha256')
  let bytes = 0
  const counted = async function* () {
    for await (const batch of file.rows) {
      digest.add(batch)
      archivist.onProgress(batch.rows)
      yield batch
    }
  }
  const hashed = async function* () {
    for await (const chunk of writeParquet(columns, counted())) {
      sha256.update(chunk)
      bytes += chunk.length
      yield chunk
    }
  }
  await place.write(name, hashed())
  if (digest.rows === 0) {
    await place.remove(name)
    return undefined
  }
  return { table, name, rows: digest.rows, bytes, sha256: sha256.digest('hex'), rowDigest: digest.text(), columns }
}

async function writeManifest(place: FilePlace, manifest: Manifest, signer: NoteSigner) {
  const note = Buffer.from(signManifest(manifest, signer))
  const once = async function* () {
    yield note
  }
  await place.write(manifestName(manifest), once())
  return { rows: loginRows(manifest), manifest: hash('sha256', note, 'hex') }
}

async function readManifest({ verifiers }: Archivist, place: FilePlace, part: ArchivePart): Promise<Manifest> {
  const name = manifestName(part)
  const note = await readText(place, name)
  const manifest = openManifest(note, verifiers, name)
  // An earlier revision was signed as well.
  if (hash('sha256', note, 'hex') !== part.manifest)
    throw new TokenvaultError('archive_changed', `${name} is not the manifest that was recorded`)
  return manifest
}

async function openFile(place: FilePlace, { name, bytes }: ManifestFile) {
  const file = await place.open(name)
  if (file === undefined) throw new TokenvaultError('archive_changed', `${name} is missing`)
  if (file.byteLength !== bytes) throw new TokenvaultError('archive_changed', `${name} has ${file.byteLength} bytes`)
  return file
}

const hashedBytes = 8 * 1024 * 1024

/** Compares the bytes of a file with its manifest. @throws TokenvaultError `archive_changed` */
async function checkBytes(place: FilePlace, file: ManifestFile): Promise<void> {
  const content = await openFile(place, file)
  const sha256 = createHash('sha256')
  for (let at = 0; at < file.bytes; at += hashedBytes)
    sha256.update(new Uint8Array(await content.slice(at, Math.min(at + hashedBytes, file.bytes))))
  if (sha256.digest('hex') !== file.sha256)
    throw new TokenvaultError('archive_changed', `${file.name} has another SHA-256 than its manifest says`)
}

/** Compares a file with its manifest: its bytes, and the rows that come out of them. @throws TokenvaultError `archive_changed` */
async function checkFile(archivist: Archivist, place: FilePlace, file: ManifestFile): Promise<void> {
  await checkBytes(place, file)
  for await (const _ of readRows(archivist, place, file));
}

/** The rows of a file. @throws TokenvaultError `archive_changed` at its end, unless they are those that were written */
async function* readRows(archivist: Archivist, place: FilePlace, file: ManifestFile): AsyncGenerator<Batch> {
  const digest = new RowDigest()
  for await (const batch of readParquet(await openFile(place, file), file.columns, file.name)) {
    digest.add(batch)
    archivist.onProgress(batch.rows)
    yield batch
  }
  if (digest.rows !== file.rows || digest.text() !== file.rowDigest)
    throw new TokenvaultError('archive_changed', `${file.name} holds other rows than its manifest says`)
}

async function describe({ store }: Archivist, type: ArchiveEventType, months: readonly string[], rows: number) {
  const login = await store.readLogin()
  return describeArchiveEvent(type, { administrator: { login }, at: new Date(), requestId: randomUUID(), months, rows })
}
