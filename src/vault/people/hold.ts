import { TokenvaultError } from '../../errors.ts'
import type { OpenAction } from '../admission/open-action.ts'
import type { Principal } from '../admission/ports.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { checkUserId, digestPerson, personKey } from './person.ts'
import type { HoldStore, PersonReader } from './ports.ts'
import { findPerson } from './show.ts'

export interface HoldRequest {
  readonly requestId: string
  readonly userId: string
  /** Last UTC day, `2027-12-31`. */
  readonly until: string
  /** A short identifier, as a purpose. */
  readonly reason: string
  readonly ticket?: string | undefined
}

/**
 * Legal holds. Each call is committed as an event first: if the hold then cannot be stored, the call fails, and the same call again
 * makes it.
 *
 * All throw TokenvaultError `request_invalid`, `ticket_invalid`, `people_off`, `role_not_permitted`, `principal_suspended`,
 * `audit_unavailable`, `store_unavailable`.
 */
export interface HoldVerbs {
  /** Makes a hold, or changes the one there is. @throws `person_unknown` */
  hold(principal: Principal, request: HoldRequest): Promise<void>
  /** @throws `person_not_held` */
  release(
    principal: Principal,
    request: { readonly requestId: string; readonly userId: string; readonly ticket?: string | undefined },
  ): Promise<void>
}

/** @param deps.people and `holds`: absent where the API has no login for it */
export function createHoldVerbs(deps: {
  readonly keys: FieldKeys
  readonly people?: PersonReader | undefined
  readonly holds?: HoldStore | undefined
  readonly openAction: OpenAction
  readonly now?: () => Date
}): HoldVerbs {
  const { keys, people, holds, openAction, now = () => new Date() } = deps
  const needs = 'people'
  return {
    async hold(principal, { requestId, userId, until, reason, ticket }) {
      checkUserId(userId)
      checkDay(until, now())
      const person = digestPerson(keys, userId)
      const action = await openAction({ operation: 'person_hold', principal, requestId, ticket, person, needs })
      if (people === undefined || holds === undefined) return action.refuse('people_off')
      await findPerson({ people }, action, userId)
      await action.record()
      await holds.hold({ person: personKey(keys, userId), until, reason })
    },

    async release(principal, { requestId, userId, ticket }) {
      checkUserId(userId)
      const person = digestPerson(keys, userId)
      const action = await openAction({ operation: 'person_release', principal, requestId, ticket, person, needs })
      if (holds === undefined) return action.refuse('people_off')
      if ((await holds.findHold(personKey(keys, userId))) === undefined) return action.withhold('person_not_held')
      await action.record()
      await holds.release(personKey(keys, userId))
    },
  }
}

/** A day that is there, and not over. @throws TokenvaultError `request_invalid` */
function checkDay(until: string, now: Date): void {
  const time = Date.parse(`${until}T00:00:00Z`)
  const isDay =
    /^[1-9]\d{3}-\d\d-\d\d$/.test(until) && !Number.isNaN(time) && new Date(time).toISOString().startsWith(until)
  if (!isDay) throw new TokenvaultError('request_invalid', 'until is not a day such as 2027-12-31')
  if (until < now.toISOString().slice(0, 10)) throw new TokenvaultError('request_invalid', 'until is over already')
}
