import { readFileSync, writeFileSync } from 'node:fs'
import { Ajv } from 'ajv'
import t from 'tap'
import type { TSchema } from 'typebox'
import { parse } from 'yaml'
import { fieldsFileSchema } from '../../src/vault/files/fields-file.ts'
import { policyFileSchema } from '../../src/vault/files/policy-schema.ts'
import { shippedPolicyText } from '../helpers/vault/shipped-policy.ts'

/** What is published for editors. `UPDATE_SCHEMA=1` writes it anew; the difference is read in review. */
const published: Readonly<Record<string, TSchema>> = {
  'policy.schema.json': policyFileSchema(),
  'fields.schema.json': fieldsFileSchema,
}

const read = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')

function createValidator(name: string) {
  // errorMessage is a word of editors' own; what a condition requires is described beside the condition.
  const options = { allErrors: true, strict: true, strictRequired: false, keywords: ['errorMessage'] }
  return new Ajv(options).compile(JSON.parse(read(name)))
}

t.test('docs holds the schemas that files are read by', async t => {
  for (const [name, schema] of Object.entries(published)) {
    const text = `${JSON.stringify({ $schema: 'http://json-schema.org/draft-07/schema#', ...schema }, null, 2)}\n`
    if (process.env['UPDATE_SCHEMA'] === '1') writeFileSync(new URL(`../../docs/${name}`, import.meta.url), text)
    t.equal(read(name), text, `docs/${name}: UPDATE_SCHEMA=1 npx tap test/docs/file-schemas.test.ts`)
  }
})

t.test('what the schema of a policy says, another validator understands alike', async t => {
  const isValid = createValidator('policy.schema.json')
  const role = (text: string) => parse(`version: 1\nroles: { a: ${text} }`)
  t.ok(isValid(parse(shippedPolicyText)), JSON.stringify(isValid.errors))
  for (const right of ['{}', '{ reveal: { email: full, "*": none }, purposes: ["*"] }', '{ approval: { fields: [] } }'])
    t.ok(isValid(role(right)), right)
  for (const wrong of [
    '{ revel: {} }',
    '{ reveal: { Ip: full } }',
    '{ reveal: { ip: most } }',
    '{ purposes: [Fraud 1] }',
    '{ tokenize: [] }',
    '{ batch_limit: 0 }',
    '{ approval: {} }',
    '{ audit: 1 }',
  ])
    t.notOk(isValid(role(wrong)), wrong)
  for (const name of ['*', '', ' a', 'a\nb', 'a'.repeat(65)])
    t.notOk(isValid({ version: 1, roles: { [name]: {} } }), name)
})

t.test('and that of the fields', async t => {
  const isValid = createValidator('fields.schema.json')
  const entry = { name: 'email', rule: 'email.v1', column: 'masked_email' }
  t.ok(isValid({ version: 1, fields: [entry] }), JSON.stringify(isValid.errors))
  for (const right of [{ required: false }, { placeholders: [] }, { placeholders: ['unknown', '-'] }])
    t.ok(isValid({ version: 1, fields: [{ ...entry, ...right }] }), JSON.stringify(right))
  for (const wrong of [
    { name: 'a_v1' },
    { rule: 'email.v9' },
    { column: 'b c' },
    { key: 1 },
    { required: 'no' },
    { placeholders: [0] },
    { placeholders: [' '] },
  ])
    t.notOk(isValid({ version: 1, fields: [{ ...entry, ...wrong }] }), JSON.stringify(wrong))
  const derived = { name: 'network', derive: 'network.v1', from: 'ip' }
  t.ok(isValid({ version: 1, fields: [derived] }), JSON.stringify(isValid.errors))
  for (const wrong of [
    { derive: 'ip.v1' },
    { from: undefined },
    { derive: undefined },
    { column: 'c' },
    { required: true },
  ])
    t.notOk(
      isValid(JSON.parse(JSON.stringify({ version: 1, fields: [{ ...derived, ...wrong }] }))),
      JSON.stringify(wrong),
    )
  t.notOk(isValid({ version: 1, fields: [{ name: 'email', column: 'masked_email' }] }), 'no rule')
})

t.test('every property says what it is for', async t => {
  const bare: string[] = []
  const visit = (path: string, value: unknown) => {
    if (typeof value !== 'object' || value === null) return
    for (const [key, part] of Object.entries((value as { properties?: object }).properties ?? {}))
      if (typeof part.description !== 'string') bare.push(`${path}.${key}`)
    for (const [key, part] of Object.entries(value)) visit(`${path}.${key}`, part)
  }
  for (const name of Object.keys(published)) visit(name, JSON.parse(read(name)))
  t.same(bare, [])
})
