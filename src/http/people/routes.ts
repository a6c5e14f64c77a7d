import { erasePerson } from './erase.ts'
import { exportPerson } from './export.ts'
import { holdPerson, releasePerson } from './hold.ts'
import { lookUpPerson, showPerson } from './show.ts'
import { showErasure } from './show-erasure.ts'

/** Operations on people, in the order of the document. */
export const peopleOperations = [
  showPerson,
  lookUpPerson,
  exportPerson,
  holdPerson,
  releasePerson,
  erasePerson,
  showErasure,
]
