import { discardQuarantined } from './discard.ts'
import { listQuarantine } from './list.ts'
import { openQuarantined } from './open.ts'
import { redriveQuarantined } from './redrive.ts'
import { redriveQuarantine } from './redrive-all.ts'
import { showQuarantined } from './show.ts'

/** Operations on quarantined messages, in the order of the document. */
export const quarantineOperations = [
  listQuarantine,
  showQuarantined,
  openQuarantined,
  redriveQuarantined,
  redriveQuarantine,
  discardQuarantined,
]
