import { readFileSync } from 'node:fs'
import t from 'tap'
import { compileClient } from '../../helpers/http/typed-client.ts'

const readDocument = () => JSON.parse(readFileSync(new URL('../../../openapi/openapi.json', import.meta.url), 'utf8'))

/** What a service does with the API. Each line after an @ts-expect-error is one that must not compile. */
const program = `
import createClient from 'openapi-fetch'
import type { components, paths } from './api.ts'

type Problem = components['schemas']['Problem']

const client = createClient<paths>({ baseUrl: 'https://vault.example', headers: { authorization: 'Bearer jwt' } })
const purpose = 'fraud_investigation'

export async function detokenize(tokens: string[]): Promise<string[]> {
  const { data, error } = await client.POST('/v1/detokenize', { body: { purpose, tokens } })
  if (error !== undefined) return explain(error)
  if ('approval' in data) return [data.approval.id, data.approval.state, data.receipt.signature]
  return data.results.map(item => ('error' in item ? item.error.code : item.value))
}

export async function tokenize(values: { field: string; value: string }[]): Promise<string[]> {
  const { data, error } = await client.POST('/v1/tokenize', { body: { purpose, values } })
  if (error !== undefined) return explain(error)
  return data.results.map(item => ('error' in item ? item.error.code : item.token))
}

export async function approve(id: string): Promise<'approved' | 'refused' | undefined> {
  const { data } = await client.POST('/v1/approvals/{id}/decision', {
    params: { path: { id }, header: { 'Idempotency-Key': id } },
    body: { decision: 'approve' },
  })
  return data?.state
}

export async function* listQuarantined(reason: string) {
  let before: string | undefined
  do {
    const query = { reason, limit: '1000', ...(before === undefined ? {} : { before }) }
    const { data } = await client.GET('/v1/quarantine', { params: { query } })
    yield* data?.entries ?? []
    before = data?.next
  } while (before !== undefined)
}

function explain(problem: Problem): string[] {
  switch (problem.code) {
    case 'budget_exceeded': {
      const code: 'budget_exceeded' = problem.code
      const window: 'minute' | 'day' | undefined = problem.window
      return [code, window ?? 'minute']
    }
    case 'batch_refused':
      return (problem.items ?? []).map(({ index, code }) => \`\${index}: \${code}\`)
    // @ts-expect-error: a code that the document does not list
    case 'no_such_code':
      return []
    default:
      return [problem.remedy, problem.requestId]
  }
}

// @ts-expect-error: a call without its purpose
await client.POST('/v1/detokenize', { body: { tokens: [] } })
// @ts-expect-error: a decision that there is not
await client.POST('/v1/approvals/{id}/decision', { params: { path: { id: '1' } }, body: { decision: 'maybe' } })
// @ts-expect-error: a cursor of another name
await client.GET('/v1/quarantine', { params: { query: { after: '1' } } })
// @ts-expect-error: an operation that there is not
await client.POST('/v1/approvals', { body: {} })
`

t.test('a strict program compiles against types made from the document', async t => {
  t.strictSame(await compileClient(t, readDocument(), program), [])
})

t.test(
  'it does not where a property has a default, so that it must be there, or an operation or code is gone',
  async t => {
    const document = readDocument()
    document.components.schemas.DetokenizeRequest.properties.atomic.default = false
    delete document.paths['/v1/approvals/{id}/decision']
    const codes = document.components.schemas.ErrorCode
    codes.enum = codes.enum.filter((code: string) => code !== 'budget_exceeded')
    const complaints = (await compileClient(t, document, program)).join('\n')
    t.match(complaints, /'atomic' is missing/)
    t.match(complaints, /\/v1\/approvals\/\{id\}\/decision/)
    t.match(complaints, /budget_exceeded/)
  },
)
