import { liftSuspension } from './lift.ts'
import { listSuspensions } from './list.ts'

/** Operations on suspensions, in the order of the document. */
export const suspensionOperations = [listSuspensions, liftSuspension]
