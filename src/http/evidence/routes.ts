import { showCheckpoint } from './checkpoint.ts'
import { proveAuditGrowth } from './consistency.ts'
import { proveAuditEvent } from './proof.ts'
import { searchAudit } from './search.ts'

/** Operations on the evidence, in the order of the document. */
export const evidenceOperations = [showCheckpoint, proveAuditEvent, proveAuditGrowth, searchAudit]
