import type { NormalizationRule } from './rule.ts'
import { textV1 } from './text-v1.ts'

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** As text.v1; in lower case where it is a UUID, whose case means nothing (RFC 9562, 4). */
export const deviceIdV1: NormalizationRule = {
  normalize(value) {
    const text = textV1.normalize(value)
    return text !== undefined && uuid.test(text) ? text.toLowerCase() : text
  },

  revealPart: textV1.revealPart,
}
