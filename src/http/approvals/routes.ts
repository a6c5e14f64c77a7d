import { decideApproval } from './decide.ts'
import { listApprovals } from './list.ts'
import { showApproval } from './show.ts'

/** Operations on requests for approval, in the order of the document. */
export const approvalOperations = [listApprovals, showApproval, decideApproval]
