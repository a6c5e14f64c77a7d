import fc from 'fast-check'
import t from 'tap'
import { createFieldSchema } from '../../../src/vault/fields/fields.ts'
import { parsePolicyFile } from '../../../src/vault/files/policy-file.ts'
import {
  type Capability,
  capabilities,
  type Decision,
  decide,
  decideCall,
  limitsOf,
  limitsOfCall,
  may,
  needsApproval,
  type Operation,
  type Policy,
  type Question,
  storesByDefault,
} from '../../../src/vault/policy/policy.ts'
import { checkProperty } from '../../helpers/crypto/property.ts'
import { shippedPolicy } from '../../helpers/vault/shipped-policy.ts'

const fields = createFieldSchema([
  { name: 'ip', rule: 'ip.v1', column: 'a' },
  { name: 'device_id', rule: 'device_id.v1', column: 'b' },
  { name: 'email', rule: 'email.v1', column: 'c' },
])

const policy = parsePolicyFile(
  `version: 1
roles:
  full: { reveal: { "*": full, email: none }, tokenize: [ip], purposes: [fraud, support], batch_limit: 100, budget: { per_minute: 10 } }
  ticketed: { reveal: { "*": full }, tokenize: ["*"], purposes: [fraud], ticket: required, batch_limit: 1000 }
  guarded: { reveal: { "*": full }, purposes: ["*"], approval: { fields: [email], above: 5 }, budget: { per_minute: 50, per_day: 500 } }
  doubly: { reveal: { email: full }, purposes: [fraud], approval: { fields: ["*"] } }
  partly: { reveal: { ip: partial, email: partial }, purposes: ["*"] }
  nothing: { reveal: { "*": none }, purposes: ["*"] }
  empty: {}
  helper: { audit: true, approve: true }
`,
  { source: 'policy.yaml', fields },
)

/** Operation and field, purpose, `t` where a ticket is named, `p` where a part is enough. */
const columns: readonly (readonly [string, Omit<Question, 'roles'> & { field: string }])[] = ['ip', 'email'].flatMap(
  field =>
    ['fraud', 'support', 'audit'].flatMap(purpose =>
      [false, true].map(hasTicket => {
        return [
          `${field} ${purpose}${hasTicket ? ' t' : ''}`,
          { operation: 'detokenize', field, purpose, hasTicket },
        ] as const
      }),
    ),
)

/** One letter a level, `!` for approval; a refusal by its code's first letter: field, purpose, ticket, role. */
function brief({ level, needsApproval, code }: Decision): string {
  if (code !== undefined) return { f: 'f-', p: 'p-', t: 't-', r: 'r-' }[code[0]!]!
  return `${level === 'full' ? 'F' : 'P'}${needsApproval ? '!' : ' '}`
}

t.test('detokenize: roles × field × purpose × ticket', async t => {
  //                                  ip                            email
  //                                  fraud    support  audit       fraud    support  audit     each without and with a ticket
  const table: readonly (readonly [roles: string, expected: string])[] = [
    ['',                             'r- r-    r- r-    r- r-       r- r-    r- r-    r- r-'],
    ['unheard-of',                   'r- r-    r- r-    r- r-       r- r-    r- r-    r- r-'],
    ['empty',                        'r- r-    r- r-    r- r-       r- r-    r- r-    r- r-'],
    ['helper',                       'r- r-    r- r-    r- r-       r- r-    r- r-    r- r-'],
    ['nothing',                      'r- r-    r- r-    r- r-       r- r-    r- r-    r- r-'],
    ['full',                         'F  F     F  F     p- p-       f- f-    f- f-    f- f-'],
    ['ticketed',                     't- F     p- p-    p- p-       t- F     p- p-    p- p-'],
    ['guarded',                      'F  F     F  F     F  F        F! F!    F! F!    F! F!'],
    ['doubly',                       'f- f-    f- f-    f- f-       F! F!    p- p-    p- p-'],
    ['partly',                       'P  P     P  P     P  P        P  P     P  P     P  P'],
    ['full empty unheard-of',        'F  F     F  F     p- p-       f- f-    f- f-    f- f-'],
    ['full nothing',                 'F  F     F  F     p- p-       f- f-    f- f-    f- f-'],
    ['full partly',                  'F  F     F  F     P  P        P  P     P  P     P  P'],
    ['full ticketed',                'F  F     F  F     p- p-       t- F     p- p-    p- p-'],
    ['ticketed partly',              'P  F     P  P     P  P        P  F     P  P     P  P'],
    ['guarded ticketed',             'F  F     F  F     F  F        F! F     F! F!    F! F!'],
    ['guarded partly',               'F  F     F  F     F  F        F! F!    F! F!    F! F!'],
    ['guarded doubly',               'F  F     F  F     F  F        F! F!    F! F!    F! F!'],
    ['doubly ticketed',              't- F     p- p-    p- p-       F! F     p- p-    p- p-'],
    ['full ticketed guarded partly', 'F  F     F  F     F  F        F! F     F! F!    F! F!'],
  ] // biome-ignore format: a table
  for (const [roles, expected] of table) {
    const held = roles.split(' ').filter(role => role !== '')
    const found = columns.map(([, question]) => brief(decide(policy, fields, { ...question, roles: held })).trim())
    t.strictSame(found, expected.split(/\s+/), roles)
    const backwards = columns.map(([, question]) => decide(policy, fields, { ...question, roles: held.toReversed() }))
    t.strictSame(
      backwards,
      columns.map(([, question]) => decide(policy, fields, { ...question, roles: [...held, ...held] })),
      `${roles}: order and repeats of roles mean nothing`,
    )
  }
})

t.test('another role never takes anything away', async t => {
  const roles = fc.uniqueArray(fc.constantFrom(...policy.roles.keys(), 'unheard-of'), { maxLength: 5 })
  const question = fc.record({
    operation: fc.constantFrom('detokenize' as const, 'tokenize' as const),
    field: fc.constantFrom(...fields.keys()),
    purpose: fc.constantFrom('fraud', 'support', 'audit'),
    hasTicket: fc.boolean(),
    reveal: fc.constantFrom(undefined, 'partial' as const),
  })
  const worth = ({ level, needsApproval }: Decision) =>
    2 * ['none', 'partial', 'full'].indexOf(level) + (needsApproval ? 0 : 1)
  await checkProperty(
    t,
    'decide is monotonic in roles',
    fc.property(roles, roles, question, (held, more, asked) => {
      const before = decide(policy, fields, { ...asked, roles: held })
      const after = decide(policy, fields, { ...asked, roles: [...held, ...more] })
      return worth(after) >= worth(before) && (after.level === 'none') === (after.grantedBy.length === 0)
    }),
    500,
  )
})

t.test('who wants a part gets no more, and needs no approval where a role gives that part without', async t => {
  const ask = (roles: string, field: string, purpose = 'fraud') =>
    brief(
      decide(policy, fields, {
        ...{ roles: roles.split(' '), operation: 'detokenize', field, purpose, hasTicket: false, reveal: 'partial' },
      }),
    ).trim()
  t.equal(ask('full', 'ip'), 'P')
  t.equal(ask('partly', 'ip'), 'P')
  t.equal(ask('guarded', 'email'), 'P!')
  t.equal(ask('guarded partly', 'email'), 'P', 'of one role the part, of the other the rest')
  t.equal(ask('ticketed', 'ip'), 't-')
  t.equal(ask('full', 'email'), 'f-')
  t.equal(ask('nothing', 'ip'), 'r-')
})

t.test('tokenize: roles × field × purpose × ticket; no reveal and no approval has a say in it', async t => {
  const table: readonly (readonly [roles: string, expected: string])[] = [
    ['full',          'F F  F F  p- p-   f- f- f- f- f- f-'],
    ['ticketed',      't- F p- p- p- p-  t- F  p- p- p- p-'],
    ['full ticketed', 'F F  F F  p- p-   t- F  p- p- p- p-'],
    ['guarded',       'r- r- r- r- r- r- r- r- r- r- r- r-'],
    ['partly',        'r- r- r- r- r- r- r- r- r- r- r- r-'],
    ['',              'r- r- r- r- r- r- r- r- r- r- r- r-'],
  ] // biome-ignore format: a table
  for (const [roles, expected] of table) {
    const found = columns.map(([, question]) =>
      brief(
        decide(policy, fields, { ...question, operation: 'tokenize', reveal: 'partial', roles: roles.split(' ') }),
      ).trim(),
    )
    t.strictSame(found, expected.split(/\s+/), roles)
  }
})

t.test('store: a right of its own, by field, purpose and ticket', async t => {
  const storing = parsePolicyFile(
    `version: 1
roles:
  enroller: { store: [ip], purposes: [enrollment] }
  filer: { store: ["*"], store_by_default: true, purposes: [enrollment], ticket: required }
  seeker: { tokenize: ["*"], purposes: ["*"] }
  revealer: { reveal: { "*": full }, purposes: ["*"] }
`,
    { source: 'policy.yaml', fields },
  )
  const ask = (role: string, operation: Operation, field: string, purpose = 'enrollment', hasTicket = true) =>
    decide(storing, fields, { roles: role.split(' '), operation, field, purpose, hasTicket }).code ?? 'permitted'
  t.equal(ask('enroller', 'store', 'ip'), 'permitted')
  t.equal(ask('enroller', 'store', 'email'), 'field_not_permitted')
  t.equal(ask('enroller filer', 'store', 'email'), 'permitted')
  t.equal(ask('filer', 'store', 'email', 'enrollment', false), 'ticket_required')
  t.equal(ask('enroller', 'store', 'ip', 'fraud'), 'purpose_not_permitted')
  for (const role of ['enroller', 'filer'])
    for (const operation of ['tokenize', 'detokenize'] as const)
      t.equal(ask(role, operation, 'ip'), 'role_not_permitted', `${role} ${operation}`)
  for (const role of ['seeker', 'revealer']) t.equal(ask(role, 'store', 'ip'), 'role_not_permitted')
  t.match(
    decide(storing, fields, {
      roles: ['filer'],
      operation: 'store',
      field: 'ip',
      purpose: 'enrollment',
      hasTicket: true,
    }),
    {
      ...{ level: 'full', needsApproval: false, rule: 'filer', line: 4, grantedBy: ['filer'] },
    },
  )

  const byDefault = (role: string, named: string[], purpose = 'enrollment', hasTicket = true) =>
    storesByDefault(storing, fields, { roles: role.split(' '), purpose, hasTicket, named: new Set(named) })
  t.equal(byDefault('filer', ['ip']), true)
  t.equal(byDefault('enroller', ['ip']), false, 'a right is no default')
  t.equal(byDefault('filer seeker', ['ip', 'nope']), true)
  t.equal(byDefault('filer seeker', ['ip'], 'fraud'), false, 'its purposes bound the default')
  t.equal(byDefault('filer seeker', ['ip'], 'enrollment', false), false, 'and so does its ticket')
  t.equal(byDefault('filer seeker', ['nope', '__proto__']), false)
  t.equal(byDefault('filer', ['ip'], 'fraud'), true, 'who could look nothing up is refused as one who stores')
  t.equal(byDefault('seeker revealer', ['ip']), false)
  t.equal(byDefault('', ['ip']), false)
})

t.test('a decision names its rule and the line', async t => {
  const rule = (roles: readonly string[], field: string, purpose = 'fraud', hasTicket = false) => {
    const decision = decide(policy, fields, { roles, operation: 'detokenize', field, purpose, hasTicket })
    return [decision.rule, decision.line, decision.grantedBy.join()]
  }
  t.strictSame(rule(['full'], 'ip'), ['full', 3, 'full'])
  t.strictSame(
    rule(['partly', 'guarded', 'full'], 'ip'),
    ['full', 3, 'full,guarded'],
    'the first name among equal ones',
  )
  t.strictSame(rule(['guarded', 'ticketed'], 'email', 'fraud', true), ['ticketed', 4, 'ticketed'], 'no approval first')
  t.strictSame(rule(['ticketed', 'full'], 'email'), ['ticketed', 4, ''], 'a refusal: of the role that got furthest')
  t.strictSame(rule(['partly', 'unheard-of'], 'device_id'), ['partly', 7, ''])
  t.strictSame(rule(['unheard-of'], 'ip'), [undefined, undefined, ''])
  t.strictSame(
    decide(policy, fields, {
      roles: ['full'],
      operation: 'detokenize',
      field: 'phone',
      purpose: 'fraud',
      hasTicket: true,
    }),
    { level: 'none', needsApproval: false, grantedBy: [], code: 'field_unknown' },
  )
})

t.test('names of roles, fields and purposes that an attacker chooses find nothing of JavaScript’s', async t => {
  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '*', '']) {
    const question = { operation: 'detokenize', purpose: 'fraud', hasTicket: true } as const
    t.match(decide(policy, fields, { ...question, roles: [name], field: 'ip' }), { level: 'none' }, `role ${name}`)
    t.match(
      decide(policy, fields, { ...question, roles: ['full'], field: name }),
      { code: 'field_unknown' },
      `field ${name}`,
    )
    const asked = { ...question, roles: ['full'], field: 'ip', purpose: name }
    t.match(decide(policy, fields, asked), { code: 'purpose_not_permitted' }, `purpose ${name}`)
  }
})

t.test(
  'a call is refused as a whole only where it could give nothing at all, and by what is nearest to a grant',
  async t => {
    const refusal = (roles: string, purpose = 'fraud', hasTicket = false) =>
      decideCall(policy, fields, { roles: roles.split(' '), operation: 'detokenize', purpose, hasTicket }).refusal
    t.equal(refusal('full'), undefined, 'email is refused beside it')
    t.equal(refusal('full', 'audit'), 'purpose_not_permitted')
    t.equal(refusal('ticketed'), 'ticket_required')
    t.equal(refusal('ticketed doubly', 'support', true), 'purpose_not_permitted')
    t.equal(refusal('ticketed full', 'audit'), 'purpose_not_permitted')
    t.equal(refusal('empty nothing'), 'role_not_permitted')
    const { byField } = decideCall(policy, fields, {
      roles: ['full'],
      operation: 'detokenize',
      purpose: 'fraud',
      hasTicket: false,
    })
    t.strictSame(
      [...byField].map(([field, { level, code }]) => [field, level, code]),
      [
        ['ip', 'full', undefined],
        ['device_id', 'full', undefined],
        ['email', 'none', 'field_not_permitted'],
      ],
    )
  },
)

t.test('limits are the most generous of the roles that grant, and what one leaves open is open', async t => {
  t.strictSame(limitsOf(policy, ['full']), { batchLimit: 100, perMinute: 10 })
  t.strictSame(limitsOf(policy, ['guarded']), {
    batchLimit: 10_000,
    perMinute: 50,
    perDay: 500,
    withoutApproval: [{ values: 5, windowSeconds: 86_400 }],
  })
  t.strictSame(limitsOf(policy, ['full', 'guarded']), { batchLimit: 10_000, perMinute: 50 })
  t.strictSame(limitsOf(policy, ['full', 'ticketed']), { batchLimit: 1000 })
})

t.test('of allowances those stay that no other covers, and each field of a call keeps its own', async t => {
  const role = (fields: string, approval: string) =>
    `{ reveal: { ${fields} }, purposes: ["*"], approval: { ${approval} } }`
  const windows = parsePolicyFile(
    `version: 1
roles:
  day: ${role('"*": full', 'above: 10')}
  more: ${role('"*": full', 'above: 12, window: 1d')}
  hour: ${role('ip: full', 'above: 5, window: 1h')}
  less: ${role('ip: full', 'above: 4, window: 2h')}
`,
    { source: 'policy.yaml', fields },
  )
  const [more, hour] = [
    { values: 12, windowSeconds: 86_400 },
    { values: 5, windowSeconds: 3600 },
  ] as const
  const held = [...windows.roles.keys()]
  const question = { roles: held, purpose: 'fraud', hasTicket: false, operation: 'detokenize' } as const
  const { byField } = decideCall(windows, fields, question)
  t.strictSame(limitsOf(windows, held).withoutApproval, [more, hour])
  const { withoutApproval } = limitsOfCall(windows, byField.values())
  t.strictSame(withoutApproval, [[more, hour], [more]])
  const needs = (asked: object) =>
    needsApproval(new Map(Object.entries(asked)), byField, { batchLimit: 1, withoutApproval })
  t.strictSame([{ ip: 12 }, { ip: 13 }, { ip: 6, email: 7 }].map(needs), [false, true, true])
})

t.test('a field of another role in the same call never loosens what bounds the first', async t => {
  const question = { purpose: 'fraud', hasTicket: true, operation: 'detokenize' } as const
  const { byField } = decideCall(policy, fields, { ...question, roles: ['full', 'doubly'] })
  const [ip, email] = [byField.get('ip')!, byField.get('email')!]
  t.strictSame(limitsOfCall(policy, [ip]), { batchLimit: 100, perMinute: 10, withoutApproval: [] })
  t.strictSame(limitsOfCall(policy, [email]), { batchLimit: 10_000, withoutApproval: [] })
  t.strictSame(limitsOfCall(policy, [ip, email]), { batchLimit: 100, perMinute: 10, withoutApproval: [] })
})

t.test('capabilities', async t => {
  t.ok(may(policy, ['empty', 'helper'], 'audit'))
  t.ok(may(policy, ['helper'], 'approve'))
  for (const capability of ['quarantine', 'suspensions'] as const) t.notOk(may(policy, ['helper', 'full'], capability))
  for (const roles of [[], ['full'], ['Helper'], ['__proto__'], ['helper ']])
    t.notOk(may(policy, roles, 'audit'), `${roles}`)
})

t.test('the policy that ships', async t => {
  const over = (roles: string[], operation: Operation, purpose: string, hasTicket: boolean, of: Policy) =>
    [...decideCall(of, fields, { roles, operation, purpose, hasTicket }).byField.values()]
      .map(({ level }) => level)
      .join()
  const all = (level: string) => [level, level, level].join()
  for (const purpose of ['fraud_investigation', 'customer_support']) {
    t.equal(over(['investigator'], 'detokenize', purpose, false, shippedPolicy), all('full'))
    t.equal(over(['investigator'], 'tokenize', purpose, false, shippedPolicy), all('full'))
    for (const role of [...shippedPolicy.roles.keys(), 'Investigator', 'admin']) {
      if (['investigator', 'support'].includes(role)) continue
      t.equal(over([role], 'detokenize', purpose, true, shippedPolicy), all('none'), role)
      t.equal(over([role], 'tokenize', purpose, true, shippedPolicy), all('none'), role)
    }
  }
  t.equal(over(['support'], 'detokenize', 'customer_support', true, shippedPolicy), all('partial'))
  t.equal(over(['support'], 'detokenize', 'customer_support', false, shippedPolicy), all('none'))
  t.equal(over(['support'], 'detokenize', 'fraud_investigation', true, shippedPolicy), all('none'))
  t.equal(over(['support'], 'tokenize', 'customer_support', true, shippedPolicy), all('none'))
  for (const role of shippedPolicy.roles.keys()) {
    const level = role === 'migrator' ? 'full' : 'none'
    t.equal(over([role], 'crosswalk', 'migration', true, shippedPolicy), all(level), role)
    t.equal(over([role], 'crosswalk', 'migration', false, shippedPolicy), all('none'), role)
    t.equal(over([role], 'crosswalk', 'fraud_investigation', true, shippedPolicy), all('none'), role)
    t.equal(over([role], 'translate', 'migration', true, shippedPolicy), all(level), role)
  }
  const holders = (capability: Capability) =>
    [...shippedPolicy.roles.keys()].filter(role => may(shippedPolicy, [role], capability))
  t.strictSame(
    [...shippedPolicy.roles.keys()],
    [
      'investigator',
      'support',
      'storing_service',
      'migrator',
      'analyst',
      'auditor',
      'operator',
      'approver',
      'administrator',
      'privacy',
      'security',
    ],
  )
  t.strictSame(
    capabilities.map(holders),
    [['auditor'], ['operator'], ['approver'], ['administrator'], ['administrator'], ['privacy'], ['security']],
    'each capability is one role’s, and none of these reveals',
  )
})
