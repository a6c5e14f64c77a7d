import type { ErrorCode } from '../../errors.ts'
import { type Field, maxValueBytes } from './fields.ts'
import { normalizationRules } from './rules/index.ts'

/** Why a value got no token. */
export interface ValueRefused {
  readonly code: Extract<ErrorCode, 'value_invalid' | 'value_too_long'>
}

/** The text that a value's token is minted from, or why it gets none. */
export function normalizeValue(field: Field, value: string): string | ValueRefused {
  const normalized = normalizationRules.get(field.rule)!.normalize(value)
  if (normalized === undefined) return { code: 'value_invalid' }
  return Buffer.byteLength(normalized, 'utf8') > maxValueBytes ? { code: 'value_too_long' } : normalized
}

/** What a partial reveal gives of a normalized value of the field. */
export function revealPart(field: Field, value: string): string {
  return normalizationRules.get(field.rule)!.revealPart(value)
}
