import { deviceIdV1 } from './device-id-v1.ts'
import { emailV1 } from './email-v1.ts'
import { ipV1 } from './ip-v1.ts'
import type { NormalizationRule } from './rule.ts'
import { textV1 } from './text-v1.ts'

/** Every rule, by the name that FIELDS_FILE gives it; docs/normalization.md holds vectors of each. */
const rules = {
  'ip.v1': ipV1,
  'device_id.v1': deviceIdV1,
  'email.v1': emailV1,
  'text.v1': textV1,
} as const satisfies Readonly<Record<string, NormalizationRule>>

export type RuleName = keyof typeof rules

/** A Map, because the names that are looked up come from a file. */
export const normalizationRules: ReadonlyMap<RuleName, NormalizationRule> = new Map(
  Object.entries(rules) as [RuleName, NormalizationRule][],
)
