import { ellipsis, type NormalizationRule } from './rule.ts'

/** Any text but an empty one: Unicode NFC without surrounding white space. Its part is its last four characters. */
export const textV1: NormalizationRule = {
  normalize(value) {
    // A lone surrogate has no UTF-8: all of them would become U+FFFD and get one token.
    if (!value.isWellFormed()) return undefined
    return value.normalize('NFC').trim() || undefined
  },

  /** Of eight characters or fewer nothing. Characters are code points, so that no half of one is shown. */
  revealPart(value) {
    const characters = Array.from(value)
    return characters.length <= 8 ? ellipsis : ellipsis + characters.slice(-4).join('')
  },
}
