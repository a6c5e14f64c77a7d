/** Stands for what a partial reveal leaves out. */
export const ellipsis = '…'

/** Any text but an empty one: Unicode NFC without surrounding white space. Its part is its last four characters. */
export const textV1 = {
  normalize(value: string): string | undefined {
    // A lone surrogate has no UTF-8: all of them would become U+FFFD and get one token.
    if (!value.isWellFormed()) return undefined
    return value.normalize('NFC').trim() || undefined
  },

  /** Nothing of a value that has eight characters or fewer. Characters are code points, so that half of one is never shown. */
  revealPart(value: string): string {
    const characters = Array.from(value)
    return characters.length <= 8 ? ellipsis : ellipsis + characters.slice(-4).join('')
  },
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** As text.v1; in lower case where it is a UUID, whose case means nothing (RFC 9562, 4). */
export const deviceIdV1 = {
  normalize(value: string): string | undefined {
    const text = textV1.normalize(value)
    return text !== undefined && uuid.test(text) ? text.toLowerCase() : text
  },

  revealPart: textV1.revealPart,
}
