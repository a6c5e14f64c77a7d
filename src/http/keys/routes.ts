import { listKeys } from './list.ts'

/** Operations on keys, in the order of the document. Keys are changed on the command line only. */
export const keyOperations = [listKeys]
