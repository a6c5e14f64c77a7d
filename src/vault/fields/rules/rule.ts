/**
 * A versioned rule about the values of a field. It never changes, not even to mend it: equal values must stay equal for
 * ever, so a better rule gets a new version and a file of its own.
 */
export interface NormalizationRule {
  /**
   * The one text that tokens of equal values are made from.
   *
   * @returns undefined where the value is not of the rule's shape
   */
  normalize(value: string): string | undefined
  /** What a partial reveal gives. @param value as normalize gave it */
  revealPart(value: string): string
}

/** Stands for what a partial reveal leaves out. */
export const ellipsis = '…'
