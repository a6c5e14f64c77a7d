import { createHash } from 'node:crypto'
import { TokenvaultError } from '../errors.ts'
import { checkReceipt } from './check-receipt.ts'
import { type LogKeys, spansOf } from './key-history.ts'
import { checkProof } from './proof.ts'
import type { Receipt } from './receipt.ts'
import { formatNote, type NoteSigner, openNote } from './signed-note.ts'

/** A log name has no spaces, so neither a checkpoint nor a receipt begins with this. */
const reportLabel = 'tokenvault person report v1'

/**
 * One event of a person's access log. `told` is what the vault says of the event: its leaf hash covers all of its bytes, of which a part
 * proves nothing by itself, so the vault's signature over the report stands for that part. With the bytes in `event` it is proven.
 */
export interface ReportedEvent {
  readonly sequence: number
  /** base64 of 32 bytes. */
  readonly leafHash: string
  readonly told: Readonly<Record<string, string>>
  readonly event?: string
  /** That the event stands in the tree of the checkpoint; or, of one that is newer, the promise that it will. */
  readonly proof?: { readonly path: readonly string[]; readonly checkpoint: string }
  readonly receipt?: Receipt
}

/** What a checked report shows. */
export interface CheckedReport {
  readonly report: Readonly<Record<string, unknown>>
  readonly events: number
  /** How many of them stand in the tree of a checkpoint; the others are promised by receipts. */
  readonly proven: number
}

/** The signed note that makes a report the vault's: label, log name, and SHA-256 of its bytes in base64. */
export function signReport(signer: NoteSigner, report: string): string {
  const text = formatStatement(signer.name, report)
  return formatNote(text, [{ name: signer.name, signature: signer.sign(text) }])
}

/**
 * Checks a report with the verifier key alone: that the vault signed exactly these bytes, and that the log holds, or promised, each of
 * its events.
 *
 * @param report the text as it was given
 * @param statement the signed note beside it
 * @throws TokenvaultError `person_report_invalid`
 */
export function checkReport(report: string, statement: string, keys: LogKeys): CheckedReport {
  try {
    if (openStatement(statement, keys) !== formatStatement(keys.name, report))
      throw invalid('the signed statement is of another report, or the report was changed')
    const parsed = JSON.parse(report) as Readonly<Record<string, unknown>>
    const { events } = Object(parsed['access']) as { events?: unknown }
    if (!Array.isArray(events)) throw invalid('the report has no access log')
    const proven = events.filter(event => checkEvent(event as ReportedEvent, keys)).length
    return { report: parsed, events: events.length, proven }
  } catch (cause) {
    if (cause instanceof TokenvaultError && cause.code === 'person_report_invalid') throw cause
    throw invalid(cause instanceof TokenvaultError ? cause.message : 'it is not a report', cause)
  }
}

/** A report says no tree size, so any key of the log will do that was not revoked: others may have one that was. */
function openStatement(statement: string, keys: LogKeys): string {
  const spans = spansOf(keys).filter(({ end }) => end?.reason !== 'revoked')
  for (const { verifier } of spans.slice(1)) {
    try {
      return openNote(statement, verifier)
    } catch {
      // Of another key.
    }
  }
  if (spans[0] === undefined) throw invalid('every key of the log was revoked')
  return openNote(statement, spans[0].verifier)
}

/** @returns whether it is proven, and not only promised */
function checkEvent(reported: ReportedEvent, keys: LogKeys): boolean {
  const { sequence, leafHash, event, proof, receipt } = Object(reported) as ReportedEvent
  if (proof === undefined) {
    const place = checkReceipt(receipt, keys)
    if (place.sequence !== sequence || Buffer.from(place.leafHash).toString('base64') !== leafHash)
      throw invalid('a receipt is about another event')
    return false
  }
  const proven = checkProof({ sequence, leafHash, ...(event === undefined ? {} : { event }), ...proof }, keys)
  if (proven.kind !== 'inclusion') throw invalid('a proof is not about an event')
  return true
}

function formatStatement(logName: string, report: string): string {
  return `${reportLabel}\n${logName}\n${createHash('sha256').update(report, 'utf8').digest('base64')}\n`
}

function invalid(detail: string, cause?: unknown): TokenvaultError {
  return new TokenvaultError('person_report_invalid', detail, { cause })
}
