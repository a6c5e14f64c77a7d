import { formatKeyName, type KeyName } from '../keys/keyset.ts'
import type { AuditEvent, KeyEventType } from './ports.ts'

/** Who changes keys: a login of the database that may act as its owner. No JWT says who that is, so the database does. */
export interface KeyAdministrator {
  /** Name of the database role that logged in. */
  readonly login: string
}

/**
 * The event of something that was done with keys.
 *
 * @param done.count of what it was done to, where that is not the keys themselves: originals that were re-sealed
 * @throws RangeError where the clock does not tell the time
 */
export function describeKeyEvent(
  type: KeyEventType,
  keys: readonly KeyName[],
  done: {
    readonly administrator: KeyAdministrator
    readonly at: Date
    readonly requestId: string
    readonly kekId?: string
    readonly count?: number
  },
): AuditEvent {
  const { administrator, at, requestId, kekId, count = keys.length } = done
  return {
    format: 2,
    type,
    at: at.toISOString(),
    requestId,
    issuer: 'postgres',
    subject: administrator.login,
    roles: [],
    channel: 'cli',
    purpose: '',
    decision: 'permitted',
    requested: count,
    granted: count,
    tokens: [],
    withheld: {},
    keys: keys.map(formatKeyName),
    ...(kekId === undefined ? {} : { kek: kekId }),
  }
}
