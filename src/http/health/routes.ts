import { healthz } from './healthz.ts'
import { readyz } from './readyz.ts'

/** Probes, in the order of the document. */
export const healthOperations = [healthz, readyz]
