import { TokenvaultError } from '../errors.ts'
import type { FieldSchema } from './fields.ts'

export type Operation = 'detokenize' | 'tokenize'

/** What one role permits: operations on every configured field, and whether it operates the quarantine. */
type RolePermissions = Readonly<Partial<Record<Operation, 'every field'>>> & { readonly quarantine?: true }

/** The roles that this version knows. A Map, because role names come from access tokens. */
const rolePermissions: ReadonlyMap<string, RolePermissions> = new Map<string, RolePermissions>([
  ['analyst', {}],
  ['investigator', { detokenize: 'every field', tokenize: 'every field' }],
  ['auditor', {}],
  ['operator', { quarantine: true }],
])

/** Every role that the policy names. */
export const knownRoles: readonly string[] = [...rolePermissions.keys()]

/** Says which of the configured fields roles permit an operation on. */
export type Permit = typeof permittedFields

/**
 * The configured fields on which the roles together permit the operation; empty means that it is refused altogether.
 * Unknown roles permit nothing.
 */
export function permittedFields(
  roles: readonly string[],
  operation: Operation,
  fields: FieldSchema,
): ReadonlySet<string> {
  const permits = roles.some(role => rolePermissions.get(role)?.[operation] === 'every field')
  return permits ? new Set(fields.keys()) : new Set()
}

/** Whether the roles permit to list, show, redrive and discard what is in quarantine. None of it tells a value. */
export function mayOperateQuarantine(roles: readonly string[]): boolean {
  return roles.some(role => rolePermissions.get(role)?.quarantine === true)
}

/**
 * Whether the roles permit to read a quarantined body. A body may hold any value and is found without a token, so it
 * takes both: operating the quarantine, and detokenizing every field that there is.
 */
export function mayOpenQuarantined(roles: readonly string[], fields: FieldSchema): boolean {
  return mayOperateQuarantine(roles) && permittedFields(roles, 'detokenize', fields).size === fields.size
}

/** Most items of one call. */
export const maxBatchItems = 10_000

/**
 * What a purpose looks like: words of lower-case letters joined by _ or -, such as fraud_investigation. It is no free
 * text and holds no digit, so that nobody writes the address or device they look for into the evidence.
 */
export const purposePattern = '^(?=.{3,64}$)[a-z]+([_-][a-z]+)*$'

const purposeShape = new RegExp(purposePattern)

/** @throws TokenvaultError `purpose_missing` or `purpose_invalid` */
export function checkPurpose(purpose: string): void {
  if (purpose === '') throw new TokenvaultError('purpose_missing')
  if (!purposeShape.test(purpose)) throw new TokenvaultError('purpose_invalid')
}

/** @throws TokenvaultError `batch_empty` or `batch_too_large` */
export function checkBatchSize(items: number): void {
  if (items === 0) throw new TokenvaultError('batch_empty')
  if (items > maxBatchItems) throw new TokenvaultError('batch_too_large')
}
