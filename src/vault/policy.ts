import { TokenvaultError } from '../errors.ts'

export type Operation = 'detokenize' | 'tokenize'

/** What one role permits: the fields of each operation. */
type RolePermissions = Readonly<Record<Operation, ReadonlySet<string>>>

const nothing: ReadonlySet<string> = new Set()

/** The roles that this version knows. A Map, because role names come from access tokens. */
const rolePermissions: ReadonlyMap<string, RolePermissions> = new Map([
  ['analyst', { detokenize: nothing, tokenize: nothing }],
  ['investigator', { detokenize: new Set(['ip', 'device_id']), tokenize: new Set(['ip', 'device_id']) }],
  ['auditor', { detokenize: nothing, tokenize: nothing }],
])

/** Every role that the policy names. */
export const knownRoles: readonly string[] = [...rolePermissions.keys()]

/**
 * The fields on which the roles together permit the operation; empty means that it is refused altogether.
 * Unknown roles permit nothing.
 */
export function permittedFields(roles: readonly string[], operation: Operation): ReadonlySet<string> {
  return new Set(roles.flatMap(role => [...(rolePermissions.get(role)?.[operation] ?? nothing)]))
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
