import type { KeyRecord } from '../keys/ports.ts'
import type { OpenAction } from './open-action.ts'
import type { Principal } from './ports.ts'

/** Lists the keys of the vault, without their material. It takes the capability `keys`, and is evidence before anything is told. */
export interface KeyVerbs {
  /** @throws TokenvaultError `role_not_permitted`, `principal_suspended`, `audit_unavailable`, `store_unavailable` */
  list(principal: Principal, request: { readonly requestId: string }): Promise<readonly KeyRecord[]>
}

/** @returns the verb; keys stand behind `readRecords`, which throws `store_unavailable` */
export function createKeyVerbs(deps: {
  readonly readRecords: () => Promise<readonly KeyRecord[]>
  readonly openAction: OpenAction
}): KeyVerbs {
  return {
    async list(principal, { requestId }) {
      const { record } = await deps.openAction({ operation: 'key_list', principal, requestId, needs: 'keys' })
      const records = await deps.readRecords()
      await record()
      return records
    },
  }
}
