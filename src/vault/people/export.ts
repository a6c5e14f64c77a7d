import { TokenvaultError } from '../../errors.ts'
import { type ReportedEvent, signReport } from '../../tlog/person-report.ts'
import type { InclusionProof } from '../../tlog/proof.ts'
import { type Receipt, signReceipt } from '../../tlog/receipt.ts'
import type { NoteSigner } from '../../tlog/signed-note.ts'
import { signReceiptOf } from '../admission/log-signer.ts'
import type { Principal } from '../admission/ports.ts'
import type { Detokenize, OpenRequest } from '../tokens/detokenize.ts'
import { checkUserId, digestPerson } from './person.ts'
import type { AccessEvent, PersonOverview } from './ports.ts'
import { findAccess, findPerson, type PeopleDependencies } from './show.ts'

/** Most rows that differ, and most tokens, of one report. */
export const exportLimits = { rows: 20_000, tokens: 10_000 } as const

export interface ExportRequest {
  readonly requestId: string
  readonly userId: string
  readonly purpose: string
  readonly ticket?: string | undefined
  readonly approvalId?: string | undefined
  /** Shows staff by issuer and subject, with the bytes of each event, instead of by a pseudonym of this report. */
  readonly names: boolean
}

/** The report as text, since its signature is over its bytes; or what a second person has to decide first. */
export type ExportResult =
  | { readonly outcome: 'complete'; readonly report: string; readonly statement: string; readonly receipt: Receipt }
  | { readonly outcome: 'approval_required'; readonly approval: OpenRequest; readonly receipt: Receipt }

/**
 * The file of a person: rows, values as the policy reveals them to the caller, and who saw them, with proofs. The values are opened by a
 * call of `detokenize` of the same principal, purpose, ticket and approval, with all that such a call is bound to.
 *
 * @throws TokenvaultError as ShowPerson and Detokenize; `person_too_large`
 */
export type ExportPerson = (principal: Principal, request: ExportRequest) => Promise<ExportResult>

export interface ExportDependencies extends PeopleDependencies {
  readonly detokenize: Detokenize
  /** @throws `audit_event_unknown` where no checkpoint covers the event yet */
  readonly proveInclusion: (sequence: number) => Promise<InclusionProof>
  readonly signer: NoteSigner
  readonly now?: () => Date
}

/** @param deps without `people` where the API has no login for it */
export function createExportPerson(
  deps: ExportDependencies | (Pick<ExportDependencies, 'keys' | 'openAction'> & { readonly people?: undefined }),
): ExportPerson {
  const { keys, openAction } = deps
  return async (principal, request) => {
    const { requestId, userId, purpose, ticket, approvalId, names } = request
    checkUserId(userId)
    const person = digestPerson(keys, userId)
    const call = { operation: 'person_export', principal, requestId, purpose, ticket, person, needs: 'people' } as const
    const action = await openAction(call)
    if (deps.people === undefined) return action.refuse('people_off')
    const { fields, people, signer, now = () => new Date() } = deps
    const overview = await findPerson(deps, action, userId)
    const rows = await people.listRows(userId, exportLimits.rows + 1)
    const tokens = tokensOf(overview)
    const isTooLarge = tokens.length > exportLimits.tokens || overview.tokens.some(({ hasMore }) => hasMore)
    if (isTooLarge || rows.length > exportLimits.rows) return action.refuse('person_too_large')
    const items = tokens.map(item => (fields.get(item.field)!.format === 'text' ? item.token : item))
    const opened =
      items.length === 0
        ? undefined
        : await deps.detokenize(principal, { requestId, purpose, ticket, approvalId, atomic: false, tokens: items })
    if (opened?.outcome === 'approval_required') {
      await action.recordNothing({ requested: tokens.length, withheld: ['approval_required'] })
      return opened
    }
    if (opened?.outcome === 'refused') throw new TokenvaultError('internal', 'a call that is not atomic was refused')
    const { events, isComplete } = await findAccess(deps, overview.tokens)
    const report = JSON.stringify({
      format: 1,
      log: signer.name,
      madeAt: now().toISOString(),
      userId,
      rows,
      values: (opened?.items ?? []).map((item, place) => ({
        ...tokens[place]!,
        ...('error' in item
          ? { error: item.error.code }
          : { value: item.value, ...(item.partial && { partial: true }) }),
      })),
      access: { isComplete, events: await reportEvents(deps, events, names) },
    })
    const committed = await action.record({ requested: tokens.length })
    return {
      outcome: 'complete',
      report,
      statement: signReport(signer, report),
      receipt: await signReceiptOf(signer, committed),
    }
  }
}

function tokensOf({ tokens }: PersonOverview) {
  return tokens.flatMap(({ field, tokens: found }) => found.map(token => ({ field, token })))
}

const told = ['at', 'type', 'purpose', 'ticket', 'decision', 'channel'] as const

/** Each with its proof; an event that no checkpoint covers yet has a receipt, which is checked the same way. */
async function reportEvents(
  { proveInclusion, signer }: Pick<ExportDependencies, 'proveInclusion' | 'signer'>,
  events: readonly AccessEvent[],
  names: boolean,
): Promise<readonly ReportedEvent[]> {
  const pseudonyms = new Map<string, string>()
  const reported: ReportedEvent[] = []
  for (const event of events) {
    const { sequence, leafHash, issuer, subject } = event
    const staff = JSON.stringify([issuer, subject])
    if (!pseudonyms.has(staff)) pseudonyms.set(staff, `staff-${pseudonyms.size + 1}`)
    const who = names ? { issuer: String(issuer), subject: String(subject) } : { who: pseudonyms.get(staff)! }
    const members = told.flatMap(name => (typeof event[name] === 'string' ? [[name, event[name]] as const] : []))
    const base = { sequence, leafHash, told: { ...Object.fromEntries(members), ...who } }
    const proof = await proveInclusion(sequence).catch(error => {
      if (error instanceof TokenvaultError && error.code === 'audit_event_unknown') return undefined
      throw error
    })
    if (proof === undefined) {
      reported.push({
        ...base,
        receipt: signReceipt(signer, { sequence, leafHash: Buffer.from(leafHash, 'base64') }),
      })
      continue
    }
    const { path, checkpoint, event: bytes } = proof
    reported.push({ ...base, ...(names && bytes !== undefined && { event: bytes }), proof: { path, checkpoint } })
  }
  return reported
}
