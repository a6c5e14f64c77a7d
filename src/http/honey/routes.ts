import { createHoney } from './create.ts'
import { listHoney } from './list.ts'
import { retireHoney } from './retire.ts'

/** Operations on honey tokens, in the order of the document. */
export const honeyOperations = [createHoney, listHoney, retireHoney]
