import { createHash } from 'node:crypto'
import { maxBatchItems, purposePattern } from '../admission/request-shape.ts'
import type { FieldSchema } from '../fields/fields.ts'
import { type Capability, every, type Policy, type RevealLevel, type RolePolicy } from '../policy/policy.ts'
import { offsetOf, type Reading, readList, readMap, readPairs, readYaml, scalarOf } from './checked-yaml.ts'

/** The only version of the file's shape so far. */
const fileVersion = 1

const capabilities: readonly Capability[] = ['audit', 'quarantine', 'approve', 'suspensions']
const roleKeys = ['reveal', 'tokenize', 'purposes', 'ticket', 'batch_limit', 'budget', 'approval', ...capabilities]
const levels: readonly unknown[] = ['full', 'partial', 'none']

/** Largest budget that may be written down; more is meant as no budget. */
const maxBudget = 1_000_000_000

const purposeShape = new RegExp(purposePattern)
/** Text without control characters or spaces around it: what an access token may carry as a role, or as a claim's name. */
const nameShape = /^(?! )[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]{1,256}(?<! )$/u
const maxRoleName = 64

/**
 * Reads a policy from YAML 1.2 or JSON; deploy/policy.yaml shows all of it. Nothing is guessed: unknown and repeated keys,
 * fields that are not configured, aliases and numbers for texts are refused.
 *
 * @param options.source what the file is called where the policy is explained
 * @param options.fields the configured fields, the only ones that the file may name
 * @throws TokenvaultError `policy_invalid` with every problem by line and column, quoting nothing of the text
 */
export function parsePolicyFile(
  text: string,
  options: { readonly source: string; readonly fields: FieldSchema },
): Policy {
  const { source, fields } = options
  const read = readYaml(text, { code: 'policy_invalid', name: 'policy' }, (root, reading) =>
    readFile(root, fields, reading),
  )
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 16)
  return Object.freeze({ ...read, digest, source })
}

function readFile(root: unknown, fields: FieldSchema, reading: Reading): Pick<Policy, 'roles' | 'rolesClaims'> {
  const { complain } = reading
  const keys = { required: ['version', 'roles'], optional: ['roles_claims'] }
  const file = readMap(root, 'the file', keys, complain)
  const version = file.get('version')
  if (version !== undefined && scalarOf(version) !== fileVersion) {
    complain(offsetOf(version), `version is not ${fileVersion}`)
  }
  const claims = file.get('roles_claims')
  const rolesClaims =
    claims === undefined
      ? ['roles']
      : [...readTexts(claims, 'roles_claims', 'the name or path of a claim', text => nameShape.test(text), reading)]
  const roles = new Map<string, RolePolicy>()
  const pairs = file.has('roles') ? readPairs(file.get('roles'), 'roles', complain, 1) : []
  for (const { key, name, value } of pairs ?? []) {
    if (name === every || name.length > maxRoleName || !nameShape.test(name)) {
      complain(offsetOf(key), `a role has a name of 1 to ${maxRoleName} printable characters, and it is not ${every}`)
    }
    roles.set(name, readRole(name, key, value, fields, reading))
  }
  return { roles, rolesClaims: Object.freeze(rolesClaims) }
}

function readRole(name: string, key: unknown, node: unknown, fields: FieldSchema, reading: Reading): RolePolicy {
  const { complain, lineOf } = reading
  const role = readMap(node, 'a role', { required: [], optional: roleKeys }, complain)
  const lines = new Map([['', lineOf(key)]])
  for (const part of ['tokenize', 'purposes', 'ticket']) if (role.has(part)) lines.set(part, lineOf(role.get(part)))

  const reveal = new Map<string, RevealLevel>()
  for (const pair of role.has('reveal') ? (readPairs(role.get('reveal'), 'reveal', complain) ?? []) : []) {
    checkField(pair.key, pair.name, fields, reading)
    const level = scalarOf(pair.value)
    if (!levels.includes(level)) complain(offsetOf(pair.value ?? pair.key), 'a field is revealed full, partial or none')
    reveal.set(pair.name, level as RevealLevel)
    lines.set(`reveal.${pair.name}`, lineOf(pair.key))
  }
  const tokenize = role.has('tokenize')
    ? readFields(role.get('tokenize'), 'tokenize', fields, reading)
    : new Set<string>()
  const isPurpose = (text: string) => text === every || purposeShape.test(text)
  const purposes = role.has('purposes')
    ? readTexts(role.get('purposes'), 'purposes', 'a purpose such as fraud_investigation, or "*"', isPurpose, reading)
    : new Set<string>()
  if (!role.has('purposes') && (tokenize.size > 0 || [...reveal.values()].some(level => level !== 'none'))) {
    complain(offsetOf(key), 'a role that reveals or tokenizes needs purposes; ["*"] permits every one')
  }
  const ticket = role.has('ticket') ? scalarOf(role.get('ticket')) : 'optional'
  if (ticket !== 'required' && ticket !== 'optional') {
    complain(offsetOf(role.get('ticket')), 'ticket is required or optional')
  }
  const budget = role.has('budget')
    ? readMap(role.get('budget'), 'budget', { required: [], optional: ['per_minute', 'per_day'] }, complain)
    : new Map<string, unknown>()
  return Object.freeze({
    name,
    lines,
    reveal,
    tokenize,
    purposes,
    ticketRequired: ticket === 'required',
    batchLimit: readInteger(role, 'batch_limit', 1, maxBatchItems, reading) ?? maxBatchItems,
    perMinute: readInteger(budget, 'per_minute', 1, maxBudget, reading),
    perDay: readInteger(budget, 'per_day', 1, maxBudget, reading),
    approval: readApproval(role.get('approval'), fields, reading),
    capabilities: new Set(capabilities.filter(capability => readBoolean(role, capability, reading))),
  })
}

function readApproval(node: unknown, fields: FieldSchema, reading: Reading): RolePolicy['approval'] {
  if (node === undefined) return Object.freeze({ fields: new Set<string>() })
  const keys = { required: [], optional: ['above', 'fields'] }
  const approval = readMap(node, 'approval', keys, reading.complain)
  if (approval.size === 0) reading.complain(offsetOf(node), 'approval says neither above nor fields')
  const guarded = approval.get('fields')
  return Object.freeze({
    above: readInteger(approval, 'above', 0, maxBatchItems, reading),
    fields: guarded === undefined ? new Set<string>() : readFields(guarded, 'fields', fields, reading, 0),
  })
}

/** A list of configured fields, or of `*`. */
function readFields(
  node: unknown,
  what: string,
  fields: FieldSchema,
  reading: Reading,
  least = 1,
): ReadonlySet<string> {
  const known = (text: string) => text === every || fields.has(text)
  return readTexts(node, what, `"*" or a configured field: ${[...fields.keys()].join(', ')}`, known, reading, least)
}

function checkField(key: unknown, name: string, fields: FieldSchema, { complain }: Reading): void {
  if (name === every || fields.has(name)) return
  complain(offsetOf(key), `this field is not configured; there are ${[...fields.keys()].join(', ')} and "*"`)
}

/** A list of different texts; `*` stands alone. */
function readTexts(
  node: unknown,
  what: string,
  kind: string,
  isKind: (text: string) => boolean,
  { complain }: Reading,
  least = 1,
): ReadonlySet<string> {
  const items = readList(node, what, complain)
  const texts = new Set<string>()
  for (const item of items ?? []) {
    const text = scalarOf(item)
    if (typeof text !== 'string' || !isKind(text)) complain(offsetOf(item), `this entry of ${what} is not ${kind}`)
    else if (texts.has(text)) complain(offsetOf(item), `this entry of ${what} stands twice`)
    else texts.add(text)
  }
  if (items !== undefined && items.length < least) complain(offsetOf(node), `${what} is empty`)
  if (texts.has(every) && texts.size > 1) complain(offsetOf(node), `"*" of ${what} covers the other entries`)
  return texts
}

function readInteger(
  map: ReadonlyMap<string, unknown>,
  key: string,
  least: number,
  most: number,
  { complain }: Reading,
): number | undefined {
  if (!map.has(key)) return undefined
  const value = scalarOf(map.get(key))
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value
  complain(offsetOf(map.get(key)), `${key} is no whole number from ${least} to ${most}`)
  return undefined
}

function readBoolean(map: ReadonlyMap<string, unknown>, key: string, { complain }: Reading): boolean {
  if (!map.has(key)) return false
  const value = scalarOf(map.get(key))
  if (typeof value !== 'boolean') complain(offsetOf(map.get(key)), `${key} is true or false`)
  return value === true
}
