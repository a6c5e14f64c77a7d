import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import type { AuditEvent, Charge, Principal } from '../admission/ports.ts'
import type { RecordAct } from '../admission/record-action.ts'
import { checkPurpose } from '../admission/request-shape.ts'
import type { FieldSchema } from '../fields/fields.ts'
import { decideCall, limitsOfCall, may, type Policy } from '../policy/policy.ts'
import type { QuarantineEntry, QuarantineFilter, QuarantineStore } from './ports.ts'
import type { OpenQuarantined } from './sealed-bodies.ts'
import { type BodyShape, describeShape } from './shape.ts'

/** Most entries of one page, and of one redrive of all. */
export const maxQuarantinePage = 1000

/** An entry as shown; `shape` is absent once its body was erased. */
export interface ShownEntry extends QuarantineEntry {
  readonly shape?: BodyShape
}

/**
 * What operators do with what is no event. Listing and showing tell nothing of a body but its shape, and only refused
 * attempts leave evidence. Every other act is committed as evidence first, naming the entries; where the act then fails, or
 * another operator was faster, the evidence says more than was done, never less.
 *
 * All throw TokenvaultError `role_not_permitted`, `audit_unavailable`, `store_unavailable`.
 */
export interface QuarantineVerbs {
  /** Newest first. `after` is the last id of the page before. */
  list(
    principal: Principal,
    request: { requestId: string; filter: QuarantineFilter; limit: number; after?: string | undefined },
  ): Promise<readonly QuarantineEntry[]>
  /** @throws `quarantine_unknown` */
  show(principal: Principal, request: { requestId: string; id: string }): Promise<ShownEntry>
  /**
   * Gives the body itself, audited as a detokenization is.
   * @throws `purpose_missing`, `purpose_invalid`, `quarantine_unknown`, `quarantine_settled`, `quarantine_unreadable`
   */
  open(principal: Principal, request: { requestId: string; id: string; purpose: string }): Promise<string>
  /** Asks the workers to try again; asking twice is no error. @throws `quarantine_unknown`, `quarantine_settled` */
  redrive(principal: Principal, request: { requestId: string; id: string }): Promise<void>
  /**
   * The oldest 1,000 entries, newer than `after` where it is given.
   * @returns how many were asked for, and the `after` of the next call; none when these were the last
   */
  redriveAll(
    principal: Principal,
    request: { requestId: string; reason?: string | undefined; after?: string | undefined },
  ): Promise<{ readonly requested: number; readonly next?: string }>
  /** Erases the body for good. @throws `quarantine_unknown`, `quarantine_settled` */
  discard(principal: Principal, request: { requestId: string; id: string }): Promise<void>
}

export interface QuarantineDependencies {
  readonly fields: FieldSchema
  /** Properties of an event that are stored in clear; the shape of a body names them and the fields. */
  readonly clearProperties: readonly string[]
  readonly store: QuarantineStore
  readonly openQuarantined: OpenQuarantined
  readonly recordAct: RecordAct
  /** The current policy. */
  readonly policy: () => Policy
}

type QuarantineAct = Extract<AuditEvent['type'], `quarantine_${string}`>

/** @returns the verbs; store and audit log stand behind the ports of `deps` */
export function createQuarantineVerbs(deps: QuarantineDependencies): QuarantineVerbs {
  const { fields, store, recordAct } = deps
  const known = [...deps.clearProperties, ...fields.keys()]

  /** Every act passes here; a refusal is evidence before it is told. */
  const authorize = async (operation: QuarantineAct, principal: Principal, requestId: string, purpose = '') => {
    const policy = deps.policy()
    const { roles } = principal
    const act = { operation, principal, requestId, purpose, policy, grantedTokens: [] }
    const opens = operation === 'quarantine_open' ? chargeOfBody(policy, fields, roles, purpose) : undefined
    if (!may(policy, roles, 'quarantine') || (operation === 'quarantine_open' && opens === undefined)) {
      await recordAct({ ...act, requested: 1, withheld: [], refusal: 'role_not_permitted' })
      throw new TokenvaultError('role_not_permitted')
    }
    return (requested: number, quarantined: readonly string[], withheld: readonly ErrorCode[] = []) => {
      const charge = quarantined.length > 0 ? opens : undefined
      return recordAct({ ...act, requested, quarantined, withheld, charge })
    }
  }
  const find = async (id: string) => {
    const found = await store.findEntry(id)
    if (found === undefined) throw new TokenvaultError('quarantine_unknown')
    return found
  }
  const findOpen = async (id: string) => {
    const { entry, body } = await find(id)
    if (body === null) throw new TokenvaultError('quarantine_settled')
    return { entry, body }
  }

  return {
    async list(principal, { requestId, filter, limit, after }) {
      await authorize('quarantine_list', principal, requestId)
      return store.listEntries(filter, { limit: Math.min(limit, maxQuarantinePage), after })
    },

    async show(principal, { requestId, id }) {
      await authorize('quarantine_show', principal, requestId)
      const { entry, body } = await find(id)
      if (body === null) return entry
      const text = deps.openQuarantined([body])[0]
      return { ...entry, shape: text === undefined ? { json: 'unreadable' } : describeShape(text, known) }
    },

    async open(principal, { requestId, id, purpose }) {
      checkPurpose(purpose)
      const record = await authorize('quarantine_open', principal, requestId, purpose)
      try {
        const { body } = await findOpen(id)
        const text = deps.openQuarantined([body])[0]
        if (text === undefined) throw new TokenvaultError('quarantine_unreadable')
        await record(1, [id])
        return text
      } catch (error) {
        if (isWithheld(error)) await record(1, [], [error.code])
        throw error
      }
    },

    async redrive(principal, { requestId, id }) {
      const record = await authorize('quarantine_redrive', principal, requestId)
      const { entry } = await findOpen(id)
      await record(1, [id])
      if (entry.state === 'redrive_requested') return
      const [requested] = await store.requestRedrive([id])
      // Another operator was faster; or it was settled meanwhile, and that is told.
      if (requested === undefined) await findOpen(id)
    },

    async redriveAll(principal, { requestId, reason, after }) {
      const record = await authorize('quarantine_redrive', principal, requestId)
      const page = { limit: maxQuarantinePage, after }
      const ids = await store.findIds({ state: 'quarantined', reason }, page)
      // Also where there is none: whoever is suspended is refused, whatever there is to do.
      await record(ids.length, ids)
      if (ids.length === 0) return { requested: 0 }
      const { length: requested } = await store.requestRedrive(ids)
      return { requested, ...(ids.length < maxQuarantinePage ? {} : { next: ids.at(-1)! }) }
    },

    async discard(principal, { requestId, id }) {
      const record = await authorize('quarantine_discard', principal, requestId)
      await findOpen(id)
      await record(1, [id])
      const [discarded] = await store.discard([id])
      if (discarded === undefined) throw new TokenvaultError('quarantine_settled')
    },
  }
}

/**
 * What reading a quarantined body costs, or undefined where the roles do not permit it. A body may hold any value and is
 * found without a token, so it takes roles that reveal every field in full, without a second person. How many values it holds
 * nobody can say: it is charged as one of each field.
 */
function chargeOfBody(
  policy: Policy,
  fields: FieldSchema,
  roles: readonly string[],
  purpose: string,
): Charge | undefined {
  const { byField } = decideCall(policy, fields, { roles, operation: 'detokenize', purpose, hasTicket: false })
  const decisions = [...byField.values()]
  if (decisions.some(({ level, needsApproval }) => level !== 'full' || needsApproval)) return undefined
  const { perMinute, perDay, approvalAbove = Number.POSITIVE_INFINITY } = limitsOfCall(policy, decisions)
  if (fields.size > approvalAbove) return undefined
  return { values: fields.size, perMinute, perDay }
}

const withheldCodes: ReadonlySet<ErrorCode> = new Set([
  'quarantine_unknown',
  'quarantine_settled',
  'quarantine_unreadable',
])

function isWithheld(error: unknown): error is TokenvaultError {
  return error instanceof TokenvaultError && withheldCodes.has(error.code)
}
