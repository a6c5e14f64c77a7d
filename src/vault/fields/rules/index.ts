import { emailV1 } from './email-v1.ts'
import { ipV1 } from './ip-v1.ts'
import { networkV1 } from './network-v1.ts'
import { deviceIdV1, textV1 } from './text.ts'

/**
 * A versioned rule about the values of a field. It never changes, not even to mend it: equal values must stay equal for
 * ever, so a better rule gets a new version and stands beside it.
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

/** Every rule, by the name that FIELDS_FILE gives it; docs/normalization.md holds vectors of each. */
const rules = {
  'ip.v1': ipV1,
  'device_id.v1': deviceIdV1,
  'email.v1': emailV1,
  'text.v1': textV1,
  'network.v1': networkV1,
} as const satisfies Readonly<Record<string, NormalizationRule>>

export type RuleName = keyof typeof rules

/** A Map, because the names that are looked up come from a file. */
export const normalizationRules: ReadonlyMap<RuleName, NormalizationRule> = new Map(
  Object.entries(rules) as [RuleName, NormalizationRule][],
)

/** Rules whose `normalize` derives a value from a normalized value of another rule, by name, with the name of that rule. */
export const derivationRules: ReadonlyMap<RuleName, RuleName> = new Map([['network.v1', 'ip.v1']])
