import type { ErrorCode } from '../../errors.ts'
import type { FieldSchema } from '../fields/fields.ts'

/**
 * `tokenize` looks tokens up; `store` also keeps the originals; `crosswalk` gives tokens beside hashes; `translate` gives the
 * present token for one of a key that was rotated.
 */
export const operations = ['detokenize', 'tokenize', 'store', 'crosswalk', 'translate'] as const
export type Operation = (typeof operations)[number]

export type RevealLevel = 'full' | 'partial' | 'none'

/** What a role may do besides revealing, tokenizing and storing. */
export const capabilities = ['audit', 'quarantine', 'approve', 'suspensions', 'keys', 'people', 'honey'] as const

export type Capability = (typeof capabilities)[number]

/** Stands for every configured field that is not named, or for every purpose. */
export const every = '*'

/** So many values may a principal take in any window of that length without a second person. */
export interface Allowance {
  readonly values: number
  readonly windowSeconds: number
}

/** What one role permits. */
export interface RolePolicy {
  readonly name: string
  /** Lines of the policy file, from 1: '' is the role itself, `reveal.ip`, `tokenize`, `store`, `crosswalk`, `translate`, `purposes` and `ticket` its parts. */
  readonly lines: ReadonlyMap<string, number>
  /** Level by field; `*` for those not named. */
  readonly reveal: ReadonlyMap<string, RevealLevel>
  /** Fields whose tokens it may look up by value, or `*`. */
  readonly tokenize: ReadonlySet<string>
  /** Fields of which it may store values, or `*`. */
  readonly store: ReadonlySet<string>
  /** Whether its calls store where they do not say; see storesByDefault. */
  readonly isStoreByDefault: boolean
  /** Fields of which it may have every token beside a hash of its value, or `*`. */
  readonly crosswalk: ReadonlySet<string>
  /** Fields whose tokens of a rotated key it may exchange for present ones, or `*`. */
  readonly translate: ReadonlySet<string>
  readonly purposes: ReadonlySet<string>
  readonly ticketRequired: boolean
  /** Most items of one call. */
  readonly batchLimit: number
  /** Values in any 60 seconds, and in any 24 hours; absent where not bounded. */
  readonly perMinute?: number | undefined
  readonly perDay?: number | undefined
  readonly approval: {
    /** What the role may take without a second person; absent where it needs none. */
    readonly allowance?: Allowance | undefined
    /** Fields that always need one, or `*`. */
    readonly fields: ReadonlySet<string>
  }
  readonly capabilities: ReadonlySet<Capability>
}

/** Who may reveal what, and why: a policy file as read, never changed. */
export interface Policy {
  /** First 16 hexadecimal digits of the SHA-256 of its text. */
  readonly digest: string
  /** Where it was read, as whoever gave the file calls it. */
  readonly source: string
  /** Claims of an access token that carry roles; all that are present add up. */
  readonly rolesClaims: readonly string[]
  /** Whether whoever meets a honey token is also suspended. */
  readonly onHoney: 'alarm' | 'suspend'
  /** What becomes of the rows of an erased person where a call does not say, and whether a second person approves each erasure. */
  readonly erasure: { readonly rows: 'remove' | 'anonymize'; readonly needsApproval: boolean }
  /** A Map, because the names that are looked up come from access tokens. */
  readonly roles: ReadonlyMap<string, RolePolicy>
}

/** What is asked of the policy about a call, whatever its fields are. */
export interface Question {
  readonly roles: readonly string[]
  readonly operation: Operation
  readonly purpose: string
  readonly hasTicket: boolean
  /** The caller wants no more than this. */
  readonly reveal?: 'partial' | undefined
}

export interface Decision {
  readonly level: RevealLevel
  /** Why the level is `none`. */
  readonly code?: ErrorCode
  readonly needsApproval: boolean
  /** The role whose rule made the decision, and the line it stands on; absent where the policy knows none of the roles. */
  readonly rule?: string
  readonly line?: number
  /** Every role that decides the same by itself. The limits for the field are the most generous among theirs. */
  readonly grantedBy: readonly string[]
}

/** The decision of one role by itself. Codes are in the order of the checks: a later code passed more of them. */
interface Verdict {
  readonly role: RolePolicy
  readonly level: RevealLevel
  readonly needsApproval: boolean
  readonly refusal?: keyof typeof refusalRank
  readonly part: string
}

const levelRank = { none: 0, partial: 1, full: 2 } as const
const refusalRank = {
  field_not_permitted: 0,
  purpose_not_permitted: 1,
  ticket_required: 2,
  approval_required: 3,
} as const

/**
 * Whether the roles together permit the operation on the field. Roles add up: what any of them permits is permitted,
 * and the highest level wins; between equal ones no approval comes before approval, and then the order of names.
 * Where all refuse, the one that got furthest says why.
 */
export function decide(policy: Policy, fields: FieldSchema, question: Question & { readonly field: string }): Decision {
  const none = { level: 'none', needsApproval: false, grantedBy: [] } as const
  if (!fields.has(question.field)) return { ...none, code: 'field_unknown' }
  const held = rolesOf(policy, question.roles)
  const [first, ...others] = held.map(role => judge(role, question)).sort(compareVerdicts)
  if (first === undefined) return { ...none, code: 'role_not_permitted' }
  const { role, level, needsApproval, refusal, part } = first
  const rule = { rule: role.name, line: role.lines.get(part) ?? role.lines.get('')! }
  if (refusal !== undefined) {
    const reachesNothing = held.every(each => [...fields.keys()].every(field => !grants(each, question, field)))
    return { ...none, ...rule, code: reachesNothing ? 'role_not_permitted' : refusal }
  }
  const alike = others.filter(other => other.level === level && other.needsApproval === needsApproval)
  return { level, needsApproval, ...rule, grantedBy: [first, ...alike].map(verdict => verdict.role.name) }
}

/** The decisions about every configured field. `refusal` is why the call as a whole is refused: it could give nothing at all. */
export function decideCall(
  policy: Policy,
  fields: FieldSchema,
  question: Question,
): { readonly byField: ReadonlyMap<string, Decision>; readonly refusal?: ErrorCode } {
  const byField = new Map<string, Decision>()
  for (const field of fields.keys()) byField.set(field, decide(policy, fields, { ...question, field }))
  const decisions = [...byField.values()]
  if (decisions.some(({ level }) => level !== 'none')) return { byField }
  const codes = new Set(decisions.map(({ code }) => code))
  const nearest = (['approval_required', 'ticket_required', 'purpose_not_permitted'] as const).find(code =>
    codes.has(code),
  )
  return { byField, refusal: nearest ?? 'role_not_permitted' }
}

/**
 * What a tokenize call does that does not say whether it stores. It stores where a role with `store_by_default` permits, for
 * its purpose and ticket, to store one of the fields that it names; and where the caller has such a role and could look
 * nothing up anyway, so that the refusal is about what the caller is for. Otherwise it looks up. A call never does both.
 *
 * @param named the fields that its items name, of which any may be unknown
 */
export function storesByDefault(
  policy: Policy,
  fields: FieldSchema,
  question: Omit<Question, 'operation'> & { readonly named: ReadonlySet<string> },
): boolean {
  const { named, ...asked } = question
  const storing = rolesOf(policy, asked.roles).flatMap(role => (role.isStoreByDefault ? role.name : []))
  if (storing.length === 0) return false
  const mayStore = (field: string) =>
    named.has(field) && decide(policy, fields, { ...asked, roles: storing, operation: 'store', field }).level !== 'none'
  return (
    [...fields.keys()].some(mayStore) ||
    decideCall(policy, fields, { ...asked, operation: 'tokenize' }).refusal !== undefined
  )
}

/** Whether any of the roles has the capability. */
export function may(policy: Policy, roles: readonly string[], capability: Capability): boolean {
  return rolesOf(policy, roles).some(role => role.capabilities.has(capability))
}

/** Names of all roles that have the capability, in the order of the file. */
export function rolesThatMay(policy: Policy, capability: Capability): readonly string[] {
  return [...policy.roles.values()].filter(({ capabilities }) => capabilities.has(capability)).map(({ name }) => name)
}

/** Bounds of calls about one field; what is absent is not bounded. */
export interface Limits {
  readonly batchLimit: number
  readonly perMinute?: number
  readonly perDay?: number
  /** Without a second person one of these must hold the call. None is more generous than another. */
  readonly withoutApproval?: readonly Allowance[]
}

/** Bounds of one call about several fields. */
export interface CallLimits extends Omit<Limits, 'withoutApproval'> {
  /** Without a second person one allowance of each list must hold the call. */
  readonly withoutApproval: readonly (readonly Allowance[])[]
}

/** The most generous limits among the roles that grant a field (`grantedBy`), at least one. */
export function limitsOf(policy: Policy, roles: readonly string[]): Limits {
  const held = rolesOf(policy, roles)
  const widest = (limit: (role: RolePolicy) => number | undefined) =>
    Math.max(...held.map(role => limit(role) ?? Number.POSITIVE_INFINITY))
  const bounded = { perMinute: widest(role => role.perMinute), perDay: widest(role => role.perDay) }
  const finite = Object.entries(bounded).filter(([, limit]) => Number.isFinite(limit))
  const allowances = held.flatMap(({ approval }) => approval.allowance ?? [])
  return {
    batchLimit: widest(role => role.batchLimit),
    ...Object.fromEntries(finite),
    ...(allowances.length < held.length ? {} : { withoutApproval: mostGenerous(allowances) }),
  }
}

/** Without those that another covers: as many values or more, in a window as short or shorter. */
function mostGenerous(allowances: readonly Allowance[]): readonly Allowance[] {
  const sorted = [...allowances].sort((a, b) => b.values - a.values || a.windowSeconds - b.windowSeconds)
  return sorted.filter((one, place) => sorted.slice(0, place).every(other => one.windowSeconds < other.windowSeconds))
}

/**
 * Limits of a call about several fields: for each field the most generous among the roles that grant it, and of the fields
 * the tightest, so that nothing that is added to a call loosens what bounds the rest of it.
 *
 * @param decisions about the fields concerned, of which at least one is granted
 */
export function limitsOfCall(policy: Policy, decisions: Iterable<Decision>): CallLimits {
  const granted = [...decisions].filter(({ grantedBy }) => grantedBy.length > 0)
  const all = granted.map(({ grantedBy }) => limitsOf(policy, grantedBy))
  const tightest = (name: 'batchLimit' | 'perMinute' | 'perDay') =>
    Math.min(...all.map(limits => limits[name] ?? Number.POSITIVE_INFINITY))
  const bounds = (['perMinute', 'perDay'] as const).map(name => [name, tightest(name)] as const)
  const finite = bounds.filter(([, limit]) => Number.isFinite(limit))
  // Most fields are granted by the same roles, and have the same list.
  const lists = new Map(
    all.flatMap(({ withoutApproval: list }) => (list ? [[JSON.stringify(list), list] as const] : [])),
  )
  return { batchLimit: tightest('batchLimit'), ...Object.fromEntries(finite), withoutApproval: [...lists.values()] }
}

/**
 * Whether a second person has to approve a call, however little the principal took before.
 *
 * @param asked distinct values of each field that the call may reveal
 */
export function needsApproval(
  asked: ReadonlyMap<string, number>,
  byField: ReadonlyMap<string, Decision>,
  { withoutApproval }: CallLimits,
): boolean {
  const values = sumOf(asked)
  return (
    withoutApproval.some(list => list.every(allowance => values > allowance.values)) ||
    [...asked.keys()].some(field => byField.get(field)!.needsApproval)
  )
}

/** Values of all fields together. */
export function sumOf(asked: ReadonlyMap<string, number>): number {
  return [...asked.values()].reduce((sum, count) => sum + count, 0)
}

function rolesOf(policy: Policy, roles: readonly string[]): RolePolicy[] {
  return [...new Set(roles)].flatMap(name => policy.roles.get(name) ?? [])
}

function judge(role: RolePolicy, question: Question & { readonly field: string }): Verdict {
  const { operation, field, purpose, hasTicket, reveal } = question
  const refused = (refusal: NonNullable<Verdict['refusal']>, part: string): Verdict => {
    return { role, level: 'none', needsApproval: false, refusal, part }
  }
  const part = operation === 'detokenize' ? `reveal.${role.reveal.has(field) ? field : every}` : operation
  if (!grants(role, question, field)) return refused('field_not_permitted', part)
  if (!role.purposes.has(every) && !role.purposes.has(purpose)) return refused('purpose_not_permitted', 'purposes')
  if (role.ticketRequired && !hasTicket) return refused('ticket_required', 'ticket')
  if (operation === 'tokenize' || operation === 'store' || operation === 'translate')
    return { role, level: 'full', needsApproval: false, part }
  const { fields: guarded } = role.approval
  const needsApproval = guarded.has(every) || guarded.has(field)
  if (operation === 'crosswalk') {
    // There is no list of tokens that a second person could decide about.
    return needsApproval ? refused('approval_required', part) : { role, level: 'full', needsApproval: false, part }
  }
  return { role, level: reveal ?? levelOf(role, field), needsApproval, part }
}

function grants(role: RolePolicy, { operation }: Question, field: string): boolean {
  if (operation === 'detokenize') return levelOf(role, field) !== 'none'
  return role[operation].has(every) || role[operation].has(field)
}

function levelOf({ reveal }: RolePolicy, field: string): RevealLevel {
  return reveal.get(field) ?? reveal.get(every) ?? 'none'
}

/** Best first. */
function compareVerdicts(a: Verdict, b: Verdict): number {
  const byLevel = levelRank[b.level] - levelRank[a.level]
  if (byLevel !== 0) return byLevel
  if (a.refusal !== undefined && b.refusal !== undefined) {
    const byReach = refusalRank[b.refusal] - refusalRank[a.refusal]
    if (byReach !== 0) return byReach
  }
  if (a.needsApproval !== b.needsApproval) return a.needsApproval ? 1 : -1
  return a.role.name < b.role.name ? -1 : 1
}
