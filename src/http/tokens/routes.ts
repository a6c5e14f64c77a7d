import { crosswalk } from './crosswalk.ts'
import { detokenize } from './detokenize.ts'
import { tokenize } from './tokenize.ts'
import { translate } from './translate.ts'

/** Operations on tokens, in the order of the document. */
export const tokenOperations = [detokenize, tokenize, crosswalk, translate]
