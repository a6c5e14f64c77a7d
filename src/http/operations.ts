import { approvalOperations } from './approvals/routes.ts'
import { evidenceOperations } from './evidence/routes.ts'
import { healthOperations } from './health/routes.ts'
import { honeyOperations } from './honey/routes.ts'
import { keyOperations } from './keys/routes.ts'
import { peopleOperations } from './people/routes.ts'
import { quarantineOperations } from './quarantine/routes.ts'
import { suspensionOperations } from './suspensions/routes.ts'
import { tokenOperations } from './tokens/routes.ts'

/** Served to everybody. */
export const publicOperations = healthOperations

/** Served to callers with an access token, in the order of the document. A noun stands here; its operations in its folder. */
export const guardedOperations = [
  ...tokenOperations,
  ...evidenceOperations,
  ...approvalOperations,
  ...suspensionOperations,
  ...quarantineOperations,
  ...honeyOperations,
  ...peopleOperations,
  ...keyOperations,
]
