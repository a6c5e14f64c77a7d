import fc from 'fast-check'
import t from 'tap'
import { parse } from 'yaml'
import { TokenvaultError } from '../../../src/errors.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { parsePolicyFile } from '../../../src/vault/files/policy-file.ts'
import { decide } from '../../../src/vault/policy/policy.ts'
import { checkProperty, unicodeText } from '../../helpers/crypto/property.ts'
import { shippedPolicy, shippedPolicyText } from '../../helpers/vault/shipped-policy.ts'

const read = (text: string) => parsePolicyFile(text, { source: 'policy.yaml', fields: loginFields })

/** The problems of a file, one a line. */
function problems(text: string): string[] {
  try {
    read(text)
    return []
  } catch (error) {
    if (!(error instanceof TokenvaultError) || error.code !== 'policy_invalid') throw error
    const lines = error.message.split('\n')
    const told = lines.length === 1 ? lines : lines.slice(1)
    return told.map(line => line.trim().replace(/^policy /, ''))
  }
}

t.test('YAML and JSON say the same, and every key is read', async t => {
  const text = `version: 1
roles_claims: [realm_access.roles, "cognito:groups", scope]
roles:
  "/vault/team a":
    reveal: { ip: partial, device_id: none, "*": full }
    tokenize: [ip]
    purposes: [fraud_investigation, account-recovery]
    ticket: required
    batch_limit: 7
    budget: { per_minute: 10, per_day: 20 }
    approval: { above: 0, window: 2d, fields: [device_id] }
    audit: true
    quarantine: true
    approve: false
    suspensions: true
  tokenvault:nobody: {}
`
  const policy = read(text)
  t.strictSame(policy.rolesClaims, ['realm_access.roles', 'cognito:groups', 'scope'])
  t.match(policy.digest, /^[0-9a-f]{16}$/)
  t.equal(policy.source, 'policy.yaml')
  const role = policy.roles.get('/vault/team a')!
  t.strictSame([...role.reveal], [['ip', 'partial'], ['device_id', 'none'], ['*', 'full']]) // biome-ignore format: pairs
  t.strictSame([...role.tokenize, ...role.purposes], ['ip', 'fraud_investigation', 'account-recovery'])
  t.match(role, {
    ticketRequired: true,
    batchLimit: 7,
    perMinute: 10,
    perDay: 20,
    approval: { allowance: { values: 0, windowSeconds: 172_800 } },
  })
  t.strictSame([...role.approval.fields], ['device_id'])
  t.strictSame([...role.capabilities], ['audit', 'quarantine', 'suspensions'])
  t.strictSame(Object.fromEntries(role.lines), {
    ...{ '': 4, tokenize: 6, purposes: 7, ticket: 8 },
    ...{ 'reveal.ip': 5, 'reveal.device_id': 5, 'reveal.*': 5 },
  })
  t.strictSame([...policy.roles.keys()], ['/vault/team a', 'tokenvault:nobody'])

  const inJson = read(JSON.stringify(parse(text)))
  const withoutLines = [...inJson.roles.values()].map(({ lines, ...rest }) => rest)
  t.strictSame(
    withoutLines,
    [...policy.roles.values()].map(({ lines, ...rest }) => rest),
  )
  t.not(inJson.digest, policy.digest, 'the digest is of the text, so that the file can be found')
  t.equal(read(text).digest, policy.digest)
})

t.test('what is left out permits nothing, and bounds only what can be', async t => {
  const { roles, rolesClaims } = read('version: 1\nroles: { a: { reveal: { ip: full }, purposes: ["*"] }, b: {} }')
  t.strictSame(rolesClaims, ['roles'])
  const { reveal, lines, name, ...rest } = roles.get('a')!
  t.strictSame(rest, {
    ...{
      tokenize: new Set(),
      store: new Set(),
      isStoreByDefault: false,
      crosswalk: new Set(),
      translate: new Set(),
      purposes: new Set(['*']),
      ticketRequired: false,
      batchLimit: 10_000,
    },
    ...{ perMinute: undefined, perDay: undefined, approval: { fields: new Set() } },
    capabilities: new Set(),
  })
  const question = { operation: 'detokenize', purpose: 'fraud', hasTicket: false } as const
  const policy = read('version: 1\nroles: { a: { reveal: { ip: full }, purposes: ["*"] }, b: {} }')
  t.match(decide(policy, loginFields, { ...question, roles: ['a'], field: 'device_id' }), { level: 'none' })
})

t.test('each mistake is told by line and column, and why', async t => {
  const role = (text: string) => `version: 1\nroles:\n  r: ${text}\n`
  const wrong: Readonly<Record<string, RegExp>> = {
    '': /^line 1, column 1: the file is not a mapping with the keys version, on_honey, roles_claims, erasure, roles$/,
    'roles: { a: {} }': /^line 1, column 1: the file has no version$/,
    'version: 1': /^line 1, column 1: the file has no roles$/,
    'version: 2\nroles: { a: {} }': /^line 1, column 10: version is not 1$/,
    'version: "1"\nroles: { a: {} }': /^line 1, column 10: version is not 1$/,
    'version: 1\nroles: {}': /^line 2, column 8: roles is empty$/,
    'version: 1\nroles: [a]': /^line 2, column 8: roles is not a mapping$/,
    'version: 1\nroles:': /^line 2, column 7: roles is not a mapping$/,
    'version: 1\nroles: { a: {} }\nrole: {}': /^line 3, column 1: this key of the file is unknown; there are version/,
    'version: 1\nroles: { a: {} }\nroles: { b: {} }': /^line 3, column 1: is not valid YAML \(duplicate key\)$/,
    'version: 1\nroles:\n  a: {}\n  b: {}\n  a: {}': /^line 5, column 3: is not valid YAML \(duplicate key\)$/,
    'version: 1\nroles: { a: {}': /^line 2, column \d+: is not valid YAML/,
    'version: 1\nroles: { a: {} }\n---\nversion: 1': /^line 3, column 1: is not valid YAML \(multiple docs\)$/,
    'version: 1\nroles: { a: &x {}, b: *x }': /^line 2, column 23: is an alias; write out what it stands for$/,
    'version: 1\nroles: { a: {}, <<: { b: { audit: true } } }': /^line 2, column 23: this key of a role is unknown/,
    'version: 1\nroles: { 7: {} }': /^line 2, column 10: this key is not text$/,
    'version: 1\nroles: { "*": {} }': /^line 2, column 10: this key of roles is not a name of 1 to 64 printable characters other than "\*"$/,
    'version: 1\nroles: { "": {} }': /^line 2, column 10: this key of roles is not a name of 1 to 64/,
    'version: 1\nroles: { " a": {} }': /^line 2, column 10: this key of roles is not a name of 1 to 64/,
    'version: 1\nroles: { "a\\u202eb": {} }': /^line 2, column 10: this key of roles is not a name of 1 to 64/,
    [`version: 1\nroles: { ${'a'.repeat(65)}: {} }`]: /^line 2, column 10: this key of roles is not a name of 1 to 64/,
    'version: 1\nroles_claims: roles\nroles: { a: {} }': /^line 2, column 15: roles_claims is not a list$/,
    'version: 1\nroles_claims: []\nroles: { a: {} }': /^line 2, column 15: roles_claims is empty$/,
    'version: 1\nroles_claims: [7]\nroles: { a: {} }': /^line 2, column 16: this entry of roles_claims is not text$/,
    'version: 1\nroles_claims: [" a"]\nroles: { a: {} }': /^line 2, column 16: this entry of roles_claims is not the name or path/,
    'version: 1\nroles_claims: [a, a]\nroles: { a: {} }': /^line 2, column 19: this entry of roles_claims stands twice$/,
    [role('')]: /^line 3, column 6: a role is not a mapping with the keys reveal/,
    [role('{ revel: {} }')]: /^line 3, column 8: this key of a role is unknown; there are reveal, tokenize, store, store_by_default, crosswalk, translate, purposes/,
    [role('{ reveal: full }')]: /^line 3, column 16: reveal is not a mapping$/,
    [role('{ reveal: { ip: most }, purposes: ["*"] }')]: /^line 3, column 22: the level of a field is not one of full, partial, none$/,
    [role('{ reveal: { ip: true }, purposes: ["*"] }')]: /^line 3, column 22: the level of a field is not/,
    [role('{ reveal: { ip: }, purposes: ["*"] }')]: /^line 3, column \d+: the level of a field is not/,
    [role('{ reveal: { phone: full }, purposes: ["*"] }')]:
      /^line 3, column 18: this key of reveal is not a configured field or "\*"; there are ip, device_id$/,
    [role('{ reveal: { __proto__: full }, purposes: ["*"] }')]: /^line 3, column 18: this key of reveal is not a configured field/,
    [role('{ reveal: { ip: full } }')]: /^line 3, column 3: a role that reveals, tokenizes, stores, crosswalks or translates needs purposes; \["\*"\]/,
    [role('{ tokenize: [ip] }')]: /^line 3, column 3: a role that reveals, tokenizes, stores, crosswalks or translates needs purposes/,
    [role('{ store: [ip] }')]: /^line 3, column 3: a role that reveals, tokenizes, stores, crosswalks or translates needs purposes/,
    [role('{ store: [], purposes: ["*"] }')]: /^line 3, column 15: store is empty$/,
    [role('{ store: [phone], purposes: ["*"] }')]: /^line 3, column 16: this entry of store is not a configured field or "\*"; there are /,
    [role('{ store: ["*", ip], purposes: ["*"] }')]: /^line 3, column 15: "\*" of store covers the other entries$/,
    [role('{ tokenize: [ip], store_by_default: true, purposes: ["*"] }')]: /^line 3, column 24: store_by_default stores nothing without store$/,
    [role('{ store: [ip], store_by_default: yes, purposes: ["*"] }')]: /^line 3, column 39: store_by_default is neither true nor false$/,
    [role('{ crosswalk: [ip] }')]: /^line 3, column 3: a role that reveals, tokenizes, stores, crosswalks or translates needs purposes/,
    [role('{ crosswalk: ["*", ip], purposes: ["*"] }')]: /^line 3, column 19: "\*" of crosswalk covers the other entries$/,
    [role('{ tokenize: ip, purposes: ["*"] }')]: /^line 3, column 18: tokenize is not a list$/,
    [role('{ tokenize: [], purposes: ["*"] }')]: /^line 3, column 18: tokenize is empty$/,
    [role('{ tokenize: [phone], purposes: ["*"] }')]:
      /^line 3, column 19: this entry of tokenize is not a configured field or "\*"; there are ip, device_id$/,
    [role('{ tokenize: ["*", ip], purposes: ["*"] }')]: /^line 3, column 18: "\*" of tokenize covers the other entries$/,
    [role('{ purposes: [*] }')]: /^line 3, column \d+: is not valid YAML/,
    [role('{ purposes: "*" }')]: /^line 3, column 18: purposes is not a list$/,
    [role('{ purposes: [Fraud 1] }')]: /^line 3, column 19: this entry of purposes is not a purpose such as/,
    [role('{ purposes: ["*", fraud] }')]: /^line 3, column 18: "\*" of purposes covers/,
    [role('{ purposes: [fraud, fraud] }')]: /^line 3, column 26: this entry of purposes stands twice$/,
    [role('{ ticket: yes }')]: /^line 3, column 16: ticket is not one of required, optional$/,
    [role('{ ticket: true }')]: /^line 3, column 16: ticket is not one of required, optional$/,
    [role('{ batch_limit: 0 }')]: /^line 3, column 21: batch_limit is not a whole number from 1 to 10000$/,
    [role('{ batch_limit: 10001 }')]: /^line 3, column 21: batch_limit is not a whole number/,
    [role('{ batch_limit: "5" }')]: /^line 3, column 21: batch_limit is not a whole number/,
    [role('{ batch_limit: 1.5 }')]: /^line 3, column 21: batch_limit is not a whole number/,
    [role('{ batch_limit: .inf }')]: /^line 3, column 21: batch_limit is not a whole number/,
    [role('{ budget: 5 }')]: /^line 3, column 16: budget is not a mapping with the keys per_minute, per_day$/,
    [role('{ budget: { per_hour: 5 } }')]: /^line 3, column 18: this key of budget is unknown; there are per_minute, per_day$/,
    [role('{ budget: { per_minute: -1 } }')]: /^line 3, column 30: per_minute is not a whole number from 1 to 1000000000$/,
    [role('{ budget: { per_day: 1e12 } }')]: /^line 3, column 27: per_day is not a whole number/,
    [role('{ budget: { per_day: .nan } }')]: /^line 3, column 27: per_day is not a whole number/,
    [role('{ approval: {} }')]: /^line 3, column 18: approval is empty; there are above, window, fields$/,
    [role('{ approval: { window: 24h } }')]: /^line 3, column 20: window counts nothing without above$/,
    ...Object.fromEntries(
      ['0h', '169h', '8d', '24', '24 h', '60m', '1w', '"1h "', '1.5h'].map(window => [
        role(`{ approval: { above: 1, window: ${window} } }`),
        /^line 3, column 38: window is not (text|a time from 1h to 168h, or from 1d to 7d)$/,
      ]),
    ),
    [role('{ approval: { above: -1 } }')]: /^line 3, column 27: above is not a whole number from 0 to 1000000000$/,
    [role('{ approval: { fields: ip } }')]: /^line 3, column 28: fields is not a list$/,
    [role('{ approval: { fields: [phone] } }')]: /^line 3, column 29: this entry of fields is not a configured field or "\*"/,
    [role('{ audit: yes }')]: /^line 3, column 15: audit is neither true nor false$/,
    [role('{ approve: 1 }')]: /^line 3, column 17: approve is neither true nor false$/,
    '%YAML 1.1\n---\nversion: 1\nroles: { a: { budget: !!binary aGk= } }': /^line 4, column 32: is of a type that JSON does not have$/,
    [role('!secret { audit: true }')]: /^line 3, column 6: is not valid YAML \(tag resolve failed\)$/,
  } // biome-ignore format: a table
  for (const [text, expected] of Object.entries(wrong)) {
    const found = problems(text)
    t.match(found[0], expected, JSON.stringify(text))
    t.equal(found.length, 1, `${JSON.stringify(text)}: one problem, once`)
  }
})

t.test('all problems are told at once, in the order of the file', async t => {
  const found = problems('version: 3\nroles:\n  a: { audit: 1, batch_limit: x }\n  b: { reveal: { phone: all } }\n')
  t.strictSame(
    found.map(problem => problem.replace(/, column .*/, '')),
    ['line 1', 'line 3', 'line 3', 'line 4', 'line 4', 'line 4'],
  )
})

t.test('many problems are all told', async t => {
  const roles = Array.from({ length: 100 }, (_, index) => `  role-${index}: { audit: 1, budget: { per_hour: 2 } }\n`)
  t.equal(problems(`version: 1\nroles:\n${roles.join('')}`).length, 200)
})

t.test('whatever the text, it is a policy or one error that quotes nothing of it', async t => {
  const text = fc.oneof(
    unicodeText(80),
    fc.json(),
    fc
      .record({ line: fc.nat(55), column: fc.nat(60), put: fc.string({ minLength: 1, maxLength: 12 }) })
      .map(({ line, column, put }) => {
        const lines = shippedPolicyText.split('\n')
        lines[line] = `${(lines[line] ?? '').slice(0, column)}${put}${(lines[line] ?? '').slice(column)}`
        return lines.join('\n')
      }),
  )
  await checkProperty(
    t,
    'parsePolicyFile never throws anything else',
    fc.property(text, content => {
      try {
        read(content)
      } catch (error) {
        if (!(error instanceof TokenvaultError) || error.code !== 'policy_invalid') throw error
      }
    }),
    300,
  )
  const canary = 'canary-593-47'
  for (const text of [
    `version: 1\nroles: { ${canary}: ${canary} }`,
    `${canary}: ${canary}`,
    `- "${canary}`,
    `{{${canary}`,
  ])
    t.notMatch(problems(text).join(), /canary/)
})

t.test('a policy cannot be changed once it was read', async t => {
  t.ok(Object.isFrozen(shippedPolicy))
  t.ok([...shippedPolicy.roles.values()].every(role => Object.isFrozen(role)))
})
