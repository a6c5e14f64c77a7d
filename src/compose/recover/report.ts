import { TokenvaultError } from '../../errors.ts'
import { formatNote, type NoteSigner, type NoteVerifier, openNote } from '../../tlog/signed-note.ts'

/** What a recovery or a drill found: counts, hashes and times, and no value. */
export interface RecoveryReport {
  readonly kind: 'recovery' | 'drill'
  /** Of tokenvault. */
  readonly release: string
  readonly startedAt: string
  readonly seconds: Readonly<Record<string, number>>
  /** `sha256` is of the bytes of the file, or of the files of a directory in order of their names. */
  readonly dump: { readonly format: string; readonly bytes: number; readonly sha256: string; readonly leftOut: number }
  readonly migrations: readonly string[]
  readonly mended: number
  readonly keys: {
    /** By what they were opened: the recovery in the dump, one that was given, or the KEK. */
    readonly openedBy: 'dump' | 'file' | 'kek'
    readonly recoveryMadeAt?: string | undefined
    readonly count: number
    readonly destroyed: readonly string[]
    readonly added: readonly string[]
    readonly kekId: string
  }
  readonly audit: {
    readonly isIntact: boolean
    readonly events: number
    readonly root: string
    readonly findings: readonly string[]
    /** Of the published checkpoint that the log was compared with; absent where none was given or is small enough. */
    readonly comparedAt?: number | undefined
    /** Events that were signed after the backup, and that it lacks. Absent where no checkpoints were given. */
    readonly eventsAfterBackup?: number | undefined
    readonly verifierKey: string
  }
  readonly seed: number
  readonly originals: readonly {
    readonly field: string
    readonly count: number
    readonly tried: number
    readonly opened: number
    readonly refused: Readonly<Record<string, number>>
  }[]
  readonly reconciliation: { readonly isConsistent: boolean; readonly days: number; readonly unmatched: number }
  /** Erasures of people that were made again; absent where no ledger of them was given. */
  readonly erasures?: Readonly<Record<string, number>> | undefined
  /** Whether everything above is as it has to be. */
  readonly isSound: boolean
}

/** A log name has no spaces, so no checkpoint begins with this: neither is ever taken for the other. */
const label = 'tokenvault recovery report v1'

/** @returns a signed note (C2SP signed-note): label, name of the log, the report as one line of JSON */
export function signReport(report: RecoveryReport, signer: NoteSigner): string {
  const text = `${label}\n${signer.name}\n${JSON.stringify(report)}\n`
  return formatNote(text, [{ name: signer.name, signature: signer.sign(text) }])
}

/** @returns what was signed. @throws TokenvaultError `checkpoint_invalid` for anything but a report that bears the key's signature */
export function openReport(note: string, verifier: NoteVerifier): RecoveryReport {
  const [first, name, json, ...rest] = openNote(note, verifier).split('\n')
  if (first !== label || name !== verifier.name || json === undefined || rest.join('') !== '')
    throw new TokenvaultError('checkpoint_invalid', 'the note is signed, and is not a report of a recovery')
  return JSON.parse(json)
}
