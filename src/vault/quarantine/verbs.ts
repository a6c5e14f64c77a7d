import { TokenvaultError } from '../../errors.ts'
import { maxPageSize, type OpenAction } from '../admission/open-action.ts'
import type { Charge, Principal } from '../admission/ports.ts'
import { eventFields, type FieldSchema } from '../fields/fields.ts'
import { decideCall, limitsOfCall, needsApproval, type Policy } from '../policy/policy.ts'
import type { QuarantineEntry, QuarantineFilter, QuarantineStore } from './ports.ts'
import type { OpenQuarantined } from './sealed-bodies.ts'
import { type BodyShape, describeShape } from './shape.ts'

/** An entry as shown; `shape` is absent once its body was erased. */
export interface ShownEntry extends QuarantineEntry {
  readonly shape?: BodyShape
}

/**
 * What operators do with messages that are not events. Listing and showing reveal only the shape of a body, and leave evidence only
 * when they are refused. Every other action is first committed as evidence that names the entries. If the action then fails, or
 * another operator was faster, the evidence says more than was done, never less.
 *
 * All throw TokenvaultError `role_not_permitted`, `audit_unavailable`, `store_unavailable`.
 */
export interface QuarantineVerbs {
  /** Newest first. `before` is the last id of the page before. */
  list(
    principal: Principal,
    request: { requestId: string; filter: QuarantineFilter; limit: number; before?: string | undefined },
  ): Promise<readonly QuarantineEntry[]>
  /** @throws `quarantine_unknown` */
  show(principal: Principal, request: { requestId: string; id: string }): Promise<ShownEntry>
  /**
   * Gives the body itself, audited as a detokenization is.
   * @throws `purpose_missing`, `purpose_invalid`, `approval_required`, `quarantine_unknown`, `quarantine_settled`, `quarantine_unreadable`
   */
  open(principal: Principal, request: { requestId: string; id: string; purpose: string }): Promise<string>
  /** Asks the workers to try again; asking twice changes nothing. @throws `quarantine_unknown`, `quarantine_settled` */
  redrive(principal: Principal, request: { requestId: string; id: string }): Promise<void>
  /**
   * The newest 1,000 entries, of those older than entry `before` where it is given.
   * @returns how many were asked for, and the `before` of the next call; none when these were the last
   */
  redriveAll(
    principal: Principal,
    request: { requestId: string; reason?: string | undefined; before?: string | undefined },
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
  readonly openAction: OpenAction
}

/** @returns the verbs; the store stands behind its port */
export function createQuarantineVerbs(deps: QuarantineDependencies): QuarantineVerbs {
  const { store, openAction } = deps
  // A body holds no value of a derived field but by way of the one that it is derived from.
  const fields: FieldSchema = new Map(eventFields(deps.fields).map(field => [field.name, field]))
  const known = [...deps.clearProperties, ...fields.keys()]
  const needs = 'quarantine'
  return {
    async list(principal, { requestId, filter, limit, before }) {
      await openAction({ operation: 'quarantine_list', principal, requestId, needs })
      return store.listEntries(filter, { limit: Math.min(limit, maxPageSize), before })
    },

    async show(principal, { requestId, id }) {
      await openAction({ operation: 'quarantine_show', principal, requestId, needs })
      const { entry, body } = await find(store, id)
      if (body === null) return entry
      const text = deps.openQuarantined([body])[0]
      return { ...entry, shape: text === undefined ? { json: 'unreadable' } : describeShape(text, known) }
    },

    async open(principal, { requestId, id, purpose }) {
      const action = await openAction({ operation: 'quarantine_open', principal, requestId, purpose, needs })
      const charge = chargeOfBody(action.policy, fields, principal.roles, purpose)
      if (charge === undefined) return action.refuse('role_not_permitted')
      const found = await store.findEntry(id)
      const nothing = { quarantined: [] }
      if (found === undefined) return action.withhold('quarantine_unknown', nothing)
      if (found.body === null) return action.withhold('quarantine_settled', nothing)
      const text = deps.openQuarantined([found.body])[0]
      if (text === undefined) return action.withhold('quarantine_unreadable', nothing)
      await action.record({ quarantined: [id], charge })
      return text
    },

    async redrive(principal, { requestId, id }) {
      const { record } = await openAction({ operation: 'quarantine_redrive', principal, requestId, needs })
      const { entry } = await findOpen(store, id)
      await record({ quarantined: [id] })
      if (entry.state === 'redrive_requested') return
      const [requested] = await store.requestRedrive([id])
      // Another operator was faster; or it was settled meanwhile, and that is told.
      if (requested === undefined) await findOpen(store, id)
    },

    async redriveAll(principal, { requestId, reason, before }) {
      const { record } = await openAction({ operation: 'quarantine_redrive', principal, requestId, needs })
      const page = { limit: maxPageSize, before }
      const ids = await store.findIds({ state: 'quarantined', reason }, page)
      // Also when there is no entry: a suspended principal is refused whatever there is to do.
      await record({ requested: ids.length, quarantined: ids })
      if (ids.length === 0) return { requested: 0 }
      const { length: requested } = await store.requestRedrive(ids)
      return { requested, ...(ids.length < maxPageSize ? {} : { next: ids.at(-1)! }) }
    },

    async discard(principal, { requestId, id }) {
      const { record } = await openAction({ operation: 'quarantine_discard', principal, requestId, needs })
      await findOpen(store, id)
      await record({ quarantined: [id] })
      const [discarded] = await store.discard([id])
      if (discarded === undefined) throw new TokenvaultError('quarantine_settled')
    },
  }
}

async function find(store: QuarantineStore, id: string) {
  const found = await store.findEntry(id)
  if (found === undefined) throw new TokenvaultError('quarantine_unknown')
  return found
}

async function findOpen(store: QuarantineStore, id: string) {
  const { entry, body } = await find(store, id)
  if (body === null) throw new TokenvaultError('quarantine_settled')
  return { entry, body }
}

/**
 * What reading a quarantined body costs, or undefined where the roles do not permit it. A body may hold any value and is
 * found without a token, so it takes roles that reveal every field in full, without a second person. How many values it holds
 * nobody can say: it is charged as one of each field, and refused where so many need a second person.
 */
function chargeOfBody(
  policy: Policy,
  fields: FieldSchema,
  roles: readonly string[],
  purpose: string,
): Charge | undefined {
  const { byField } = decideCall(policy, fields, { roles, operation: 'detokenize', purpose, hasTicket: false })
  const decisions = [...byField.values()]
  if (decisions.some(({ level }) => level !== 'full')) return undefined
  const limits = limitsOfCall(policy, decisions)
  if (needsApproval(new Map([...fields.keys()].map(field => [field, 1])), byField, limits)) return undefined
  const { perMinute, perDay, withoutApproval: allowances } = limits
  return { values: fields.size, perMinute, perDay, withoutApproval: { asked: fields.size, allowances } }
}
