import type { AuditEvent, FieldCounts } from '../admission/ports.ts'

/** An event that was looked for. Whatever of it is not of the expected type is left out. */
export type FoundEvent = Partial<Omit<AuditEvent, 'format' | 'tokens' | 'withheld' | 'quarantine'>> & {
  /** Absent in events of the first format. */
  readonly format?: number
  readonly sequence: number
  /** base64. */
  readonly leafHash: string
}

const texts = ['type', 'at', 'requestId', 'issuer', 'subject', 'client', 'jwt', 'channel', 'purpose', 'decision', 'code', 'mode', 'scheme', 'ticket', 'approval', 'person', 'policy', 'until', 'kek'] // biome-ignore format: one list
const counts = ['format', 'requested', 'granted', 'partial', 'count']
const principals = ['actor', 'concerns']

/**
 * Events are written by us, but whoever can write to the log without us must not keep the others from being read.
 *
 * @param stored the leaf hash
 */
export function describeEvent(members: ReadonlyMap<string, unknown>, sequence: number, stored: Uint8Array): FoundEvent {
  const known = [
    ...texts.filter(name => typeof members.get(name) === 'string'),
    ...counts.filter(name => Number.isSafeInteger(members.get(name))),
    ...['roles', 'keys', 'months'].filter(name => isTextList(members.get(name))),
  ].map(name => [name, members.get(name)] as const)
  const described = [
    ...principals.map(name => [name, describePrincipal(members.get(name))] as const),
    ['fields', describeFields(members.get('fields'))] as const,
    ['sought', describeSought(members.get('sought'))] as const,
  ].filter(([, member]) => member !== undefined)
  return { ...Object.fromEntries([...known, ...described]), sequence, leafHash: Buffer.from(stored).toString('base64') }
}

function describePrincipal(member: unknown) {
  const { issuer, subject } = Object(member) as { issuer?: unknown; subject?: unknown }
  if (typeof subject !== 'string') return undefined
  return typeof issuer === 'string' ? { issuer, subject } : { subject }
}

/** The fields whose counts are whole. */
function describeFields(member: unknown): Record<string, FieldCounts> | undefined {
  if (typeof member !== 'object' || member === null || Array.isArray(member)) return undefined
  const fields = Object.entries(member).flatMap(([field, counted]) => {
    const { requested, granted, level } = Object(counted) as FieldCounts
    const isWhole = Number.isSafeInteger(requested) && Number.isSafeInteger(granted) && typeof level === 'string'
    return isWhole ? [[field, { requested, granted, level }] as const] : []
  })
  return Object.fromEntries(fields)
}

function describeSought(member: unknown): Record<string, string | true> | undefined {
  if (typeof member !== 'object' || member === null || Array.isArray(member)) return undefined
  const criteria = Object.entries(member).filter(([, text]) => typeof text === 'string' || text === true)
  return Object.fromEntries(criteria) as Record<string, string | true>
}

function isTextList(value: unknown): boolean {
  return Array.isArray(value) && value.every(entry => typeof entry === 'string')
}
