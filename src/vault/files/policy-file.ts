import { createHash } from 'node:crypto'
import type { Static } from 'typebox'
import { maxBatchItems } from '../admission/open-action.ts'
import type { FieldSchema } from '../fields/fields.ts'
import { type Allowance, capabilities, every, type Policy, type RolePolicy } from '../policy/policy.ts'
import { maxRoleName, policyFileSchema, roleNameMessage } from './policy-schema.ts'
import { type Complain, entriesOf, membersOf, readYamlFile, type YamlFile } from './yaml-file.ts'

type PolicyFile = Static<ReturnType<typeof policyFileSchema>>
type RoleSection = PolicyFile['roles'][string]

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
  const file = readYamlFile(text, {
    schema: policyFileSchema(fields.keys()),
    code: 'policy_invalid',
    name: 'policy',
    check: checkPolicy,
  })
  const { roles_claims: rolesClaims = ['roles'], on_honey: onHoney = 'alarm', erasure = {}, roles } = file.content
  return Object.freeze({
    digest: createHash('sha256').update(text).digest('hex').slice(0, 16),
    source,
    rolesClaims: Object.freeze(rolesClaims),
    onHoney,
    erasure: Object.freeze({ rows: erasure.rows ?? 'remove', needsApproval: erasure.approval !== 'none' }),
    roles: new Map(Object.entries(roles).map(([name, section]) => [name, toRole(name, section, file)])),
  })
}

/** What the schema cannot say. */
function checkPolicy(content: unknown, complain: Complain): void {
  const file = new Map(membersOf(content))
  checkEvery(file.get('roles_claims'), ['roles_claims'], complain)
  for (const [name, section] of membersOf(file.get('roles'))) {
    const path = ['roles', name]
    if (name.length > maxRoleName) complain(path, `this key of roles ${roleNameMessage}`, 'key')
    const role = new Map(membersOf(section))
    const reveals = membersOf(role.get('reveal')).some(([, level]) => level !== 'none')
    const givesTokens = ['tokenize', 'store', 'crosswalk', 'translate'].some(
      part => entriesOf(role.get(part)).length > 0,
    )
    if (!role.has('purposes') && (reveals || givesTokens))
      complain(
        path,
        'a role that reveals, tokenizes, stores, crosswalks or translates needs purposes; ["*"] permits every one',
        'key',
      )
    if (role.get('store_by_default') === true && !role.has('store'))
      complain([...path, 'store_by_default'], 'store_by_default stores nothing without store', 'key')
    for (const part of ['tokenize', 'store', 'crosswalk', 'translate', 'purposes'])
      checkEvery(role.get(part), [...path, part], complain)
    const approval = new Map(membersOf(role.get('approval')))
    checkEvery(approval.get('fields'), [...path, 'approval', 'fields'], complain)
    if (approval.has('window') && !approval.has('above'))
      complain([...path, 'approval', 'window'], 'window counts nothing without above', 'key')
  }
}

/** `*` stands alone. */
function checkEvery(list: unknown, path: readonly string[], complain: Complain): void {
  const entries = entriesOf(list)
  if (entries.includes(every) && entries.some(entry => entry !== every))
    complain(path, `"*" of ${path.at(-1)} covers the other entries`)
}

function toRole(name: string, section: RoleSection, { lineOf }: YamlFile<PolicyFile>): RolePolicy {
  const {
    reveal = {},
    tokenize = [],
    store = [],
    crosswalk = [],
    translate = [],
    purposes = [],
    budget = {},
    approval = {},
  } = section
  const path = ['roles', name]
  const lines = new Map([['', lineOf(path, 'key')]])
  for (const part of ['tokenize', 'store', 'crosswalk', 'translate', 'purposes', 'ticket'])
    if (part in section) lines.set(part, lineOf([...path, part]))
  for (const field of Object.keys(reveal)) lines.set(`reveal.${field}`, lineOf([...path, 'reveal', field], 'key'))
  return Object.freeze({
    name,
    lines,
    reveal: new Map(Object.entries(reveal)),
    tokenize: new Set(tokenize),
    store: new Set(store),
    isStoreByDefault: section.store_by_default === true,
    crosswalk: new Set(crosswalk),
    translate: new Set(translate),
    purposes: new Set(purposes),
    ticketRequired: section.ticket === 'required',
    batchLimit: section.batch_limit ?? maxBatchItems,
    perMinute: budget.per_minute,
    perDay: budget.per_day,
    approval: Object.freeze({ ...allowanceOf(approval), fields: new Set(approval.fields) }),
    capabilities: new Set(capabilities.filter(capability => section[capability])),
  })
}

const usualWindow = '24h'

function allowanceOf({ above, window = usualWindow }: NonNullable<RoleSection['approval']>): { allowance?: Allowance } {
  if (above === undefined) return {}
  const hours = Number.parseInt(window, 10) * (window.endsWith('d') ? 24 : 1)
  return { allowance: Object.freeze({ values: above, windowSeconds: hours * 3600 }) }
}
