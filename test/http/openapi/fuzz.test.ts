import { Agent, request as httpRequest } from 'node:http'
import fc from 'fast-check'
import t from 'tap'
import { checkProperty } from '../../helpers/crypto/property.ts'
import { type FuzzRequest, requestsOf } from '../../helpers/http/fuzz-request.ts'
import { type RawReply, startApp } from '../../helpers/http/http-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { type Operation, readOperations } from '../../helpers/http/openapi-operations.ts'
import { startVaultApi } from '../../helpers/http/vault-api.ts'
import { quarantine } from '../../helpers/vault/quarantine.ts'

/** In the suite; `npm run test:fuzz` makes more. */
const requests = Number(process.env['FUZZ_REQUESTS'] ?? 2000)
const atOnce = 16

const policy = `
version: 1
roles:
  everything: { reveal: { "*": full }, tokenize: ["*"], purposes: ["*"], audit: true, quarantine: true, approve: true, suspensions: true, translate: ["*"], keys: true, people: true, honey: true }
  investigator: { reveal: { "*": full }, tokenize: ["*"], purposes: ["*"], budget: { per_minute: 40, per_day: 60 }, approval: { above: 2, fields: [] } }
  support: { reveal: { "*": partial }, purposes: [fraud_investigation], ticket: required, batch_limit: 3 }
  analyst: {}
  auditor: { audit: true }
  operator: { quarantine: true }
  approver: { approve: true }
  administrator: { suspensions: true }
  spender: { reveal: { "*": full }, purposes: ["*"], budget: { per_day: 1 } }
`
const callers = [
  { sub: 'root', roles: ['everything'] },
  { sub: 'second', roles: ['everything'] },
  { sub: 'inv-1', roles: ['investigator'] },
  { sub: 'inv-2', roles: ['investigator', 'operator'] },
  { sub: 'sup-1', roles: ['support', 'approver', 'administrator'] },
  { sub: 'aud-1', roles: ['auditor'] },
  { sub: 'nobody', roles: ['analyst', '__proto__', 'constructor'] },
]

/** Each asks for more than a day's budget once, and is suspended from then on. */
const spenders = Array.from({ length: 8 }, (_, index) => ({ sub: `spender-${index}`, roles: ['spender'] }))

/** On every reply, whatever became of the request. */
const securityHeaders: Readonly<Record<string, RegExp>> = {
  'cache-control': /^no-store$/,
  'x-content-type-options': /^nosniff$/,
  'x-frame-options': /^DENY$/,
  'referrer-policy': /^no-referrer$/,
  'content-security-policy': /^default-src 'none';/,
  'strict-transport-security': /^max-age=\d+/,
  'cross-origin-resource-policy': /^same-origin$/,
  'x-request-id': /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
}
const neverThere = [
  'server',
  'x-powered-by',
  'etag',
  'last-modified',
  'access-control-allow-origin',
  'set-cookie',
  'location',
]
/** Words of a stack, of Postgres, of a library, or of a value: nothing that a reply of ours says. */
const leaks =
  /node_modules|\.[cm]?[jt]s:\d|\bat \w+ \(|SQLSTATE|pii_vault|syntax error|violates|relation "|FST_|ERR_|ajv|must (be|have|NOT)|\[object |undefined|secret-body/

t.test(`${requests} requests made from the OpenAPI document, against the real API`, { timeout: 600_000 }, async t => {
  const { operations, isProblem, resolve } = readOperations()
  const api = await startVaultApi(t, { policy, originals: 40, environment: { CHECKPOINT_SECONDS: '1' } })
  const entries = await quarantine(
    api.vault,
    Array.from({ length: 12 }, (_, index) => `{"secret-body":${index}}`),
  )
  const credentials = await Promise.all(
    callers.map(
      async caller => `Bearer ${await signJwt(api.key, { ...caller, exp: Math.floor(Date.now() / 1000) + 3000 })}`,
    ),
  )
  const approvals: string[] = []
  for (let index = 0; index < 8; index++) {
    const body = { purpose: 'fraud_investigation', tokens: api.tokens.slice(index, index + 3) }
    approvals.push((await api.call(callers[2 + (index % 2)]!, 'POST', '/v1/detokenize', body)).json['approval'].id)
  }
  for (const caller of spenders) {
    const body = { purpose: 'fraud_investigation', tokens: api.tokens.slice(0, 2) }
    await api.call(caller, 'POST', '/v1/detokenize', body)
  }
  let checkpoint = await api.call(callers[0]!, 'GET', '/v1/audit/checkpoint')
  while (checkpoint.status !== 200) checkpoint = await api.call(callers[0]!, 'GET', '/v1/audit/checkpoint')
  const size = String(checkpoint.json['treeSize'])
  const named = new Map([
    ['tokens', api.tokens],
    ['token', api.tokens],
    ['field', ['ip', 'device_id']],
    ['value', ['10.0.0.1', 'abc']],
    ['issuer', ['https://issuer.test']],
    ['subject', spenders.map(({ sub }) => sub)],
    ['id', [...entries, ...approvals]],
    ['sequence', ['0', '3', '7']],
    ['from', ['0', '1', size]],
    ['to', [size]],
    ['size', [size]],
    ['purpose', ['fraud_investigation', 'data_subject_request']],
  ])
  const corpus = { named, texts: [...api.tokens.slice(0, 12), ...entries, ...approvals, ...[...named.values()].flat()] }
  const agent = new Agent({ keepAlive: true, maxSockets: atOnce })
  t.teardown(() => agent.destroy())
  const { port } = new URL(api.origin)

  const byId = new Map(operations.map(operation => [operation.id, operation]))
  const seen = new Map<string, number>()
  const check = async (fuzzed: FuzzRequest) => {
    const reply = await send(agent, Number(port), fuzzed, credentials)
    const outcome = `${fuzzed.operationId} ${reply.status}`
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
    const wrong = judge(byId.get(fuzzed.operationId)!, fuzzed, reply, isProblem)
    if (wrong !== undefined)
      throw new Error(`${wrong}\n${describe(fuzzed)}\n${reply.status} ${reply.text.slice(0, 500)}`)
  }
  const any = fc.oneof(...operations.map(operation => requestsOf(operation, resolve, corpus, callers.length)))
  const batch = fc.array(any, { minLength: atOnce, maxLength: atOnce })
  await checkProperty(
    t,
    'every reply is one that the document describes, and gives nothing away',
    fc.asyncProperty(batch, async several => {
      await Promise.all(several.map(check))
    }),
    Math.ceil(requests / atOnce),
  )

  const counts = [...seen].sort(([a], [b]) => (a < b ? -1 : 1)).map(([outcome, count]) => `${outcome}: ${count}`)
  t.comment(`replies: ${counts.join(', ')}`)
  // A generator that makes nothing but refusals would show nothing. Usually all succeed, but the seed is another each time.
  // This API answers nothing about people, and has erased nobody.
  const possible = operations.filter(({ path }) => !/^\/v1\/(people|erasures)\b/.test(path))
  const succeeded = possible.filter(({ id }) => seen.has(`${id} 200`))
  t.ok(succeeded.length >= possible.length * 0.75, `${succeeded.length} of ${possible.length} operations succeeded`)
  t.notMatch(api.logged(), /secret-body|eyJ|"value"|10\.0\.0\./, 'the log holds no body, token or value')
  const [{ status }] = [await api.call(callers[0]!, 'GET', '/v1/audit/checkpoint')]
  t.ok(status === 200 || status === 404, 'the API is still well')
})

t.test('every protected route without a credential: 401, before anything of the request is looked at', async t => {
  const { operations, isProblem } = readOperations()
  const { origin } = await startApp(t)
  const guarded = operations.filter(({ isProtected }) => isProtected)
  t.strictSame(
    operations.filter(({ isProtected }) => !isProtected).map(({ path }) => path),
    ['/healthz', '/readyz'],
  )
  for (const { method, path } of [...guarded, { method: 'POST', path: '/detokenize' }]) {
    for (const mediaType of ['application/json', 'text/plain']) {
      const url = `${origin}${path.replace(/\{\w+\}/g, '__proto__')}?__proto__=%00`
      const body = method === 'GET' ? {} : { headers: { 'content-type': mediaType }, body: '{"half":' }
      const reply = await fetch(url, { method, ...body })
      t.equal(reply.status, 401, `${method} ${path}`)
      t.ok(isProblem(await reply.json()))
    }
  }
})

/** What is wrong with a reply, if anything. */
function judge(
  operation: Operation,
  { method, caller, isRouted }: FuzzRequest,
  { status, headers, text }: RawReply,
  isProblem: (value: unknown) => boolean,
): string | undefined {
  if (status >= 500 || status < 200) return `status ${status}`
  for (const [name, value] of Object.entries(securityHeaders)) {
    if (!value.test(String(headers[name]))) return `${name} is ${headers[name]}`
  }
  for (const name of neverThere) if (headers[name] !== undefined) return `there is a header ${name}`
  if (leaks.test(status === 200 && /^(detokenize|quarantineOpen|openQuarantined)/.test(operation.id) ? '' : text))
    return 'the body gives something away'
  // A path in a second spelling is refused before anybody asks who calls.
  const isMalformed = status === 400 && /"code":"request_malformed"/.test(text)
  if (operation.isProtected && caller === undefined && isRouted && status !== 401 && !isMalformed)
    return 'no credential, and not 401'
  if (status === 401 && headers['www-authenticate'] !== 'Bearer') return 'no WWW-Authenticate'
  if ((status === 429 || status === 503) && headers['retry-after'] === undefined) return 'no Retry-After'
  if (status === 405 && headers['allow'] === undefined) return 'no Allow'
  if (method === 'HEAD') return text === '' ? undefined : 'HEAD with a body'
  const documented = operation.replies.get(status)
  if (isRouted && documented === undefined) return 'a status that the document does not give'
  const body = parse(text)
  if (status >= 300 || documented === undefined) {
    if (headers['content-type'] !== 'application/problem+json') return `content type ${headers['content-type']}`
    if (!isProblem(body)) return 'no problem'
    const { code, requestId, status: told } = body as Record<string, unknown>
    if (requestId !== headers['x-request-id'] || told !== status) return 'the problem is of another request'
    return isRouted && !documented!.codes.has(String(code)) ? `${code} is not documented for the status` : undefined
  }
  if (headers['content-type'] !== 'application/json; charset=utf-8') return `content type ${headers['content-type']}`
  // Another method of the same path is another operation.
  if (!isRouted) return undefined
  return documented.isValid(body) ? undefined : `not of the schema: ${JSON.stringify(documented.isValid.errors)}`
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function describe({ operationId, method, path, headers, body, caller }: FuzzRequest): string {
  return `${operationId}: ${method} ${path} as ${callers[caller ?? -1]?.sub} ${JSON.stringify(headers)} ${body?.toString('latin1').slice(0, 500)}`
}

function send(agent: Agent, port: number, fuzzed: FuzzRequest, credentials: readonly string[]): Promise<RawReply> {
  const { method, path, body, caller } = fuzzed
  const headers = { ...fuzzed.headers, ...(caller === undefined ? {} : { authorization: credentials[caller]! }) }
  return new Promise((resolve, reject) => {
    const request = httpRequest({ agent, host: '127.0.0.1', port, method, path, headers }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', part => {
        text += part
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }))
    })
    request.on('error', reject).end(body)
  })
}
