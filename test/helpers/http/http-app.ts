import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { TokenvaultError } from '../../../src/errors.ts'
import { type AppOptions, createApp } from '../../../src/http/app.ts'
import { createLog } from '../../../src/log.ts'
import type { Principal } from '../../../src/vault/admission/ports.ts'
import type { DetokenizeRequest } from '../../../src/vault/tokens/detokenize.ts'
import type { TokenizeRequest } from '../../../src/vault/tokens/tokenize.ts'
import {
  audience,
  createIssuerKey,
  type IssuerKey,
  issuer,
  type JwksServer,
  signJwt,
  startJwksServer,
} from './jwks-server.ts'

export interface RunningApp {
  readonly app: FastifyInstance
  readonly origin: string
  readonly port: number
  readonly key: IssuerKey
  readonly jwks: JwksServer
  /** Everything that was logged, as text. */
  logged(): string
  /** Calls that reached a verb. */
  readonly calls: { principal: Principal; request: DetokenizeRequest | TokenizeRequest }[]
}

const notAsked = async () => {
  throw new TokenvaultError('internal')
}

/** The roles that tests hold unless they bring a policy. */
const knownRoles = new Set(['investigator', 'auditor', 'operator', 'support', 'analyst', 'approver', 'admin'])

/** Which access tokens are accepted unless a test says otherwise. */
export const acceptedJwts = {
  issuer,
  audiences: [audience],
  clientIds: [],
  algorithms: ['ES256', 'RS256'],
  typ: 'any',
  maxLifetimeSeconds: 3600,
  clockToleranceSeconds: 30,
  subjectCase: 'exact',
  policy: () => ({ rolesClaims: ['roles'], roles: knownRoles }),
} as const satisfies Omit<AppOptions['jwt']['issuers'][number], 'jwksUrl'> & Pick<AppOptions['jwt'], 'policy'>

/** For verbs that only echo; no key signs it. */
export const receipt = { log: 'test', sequence: 7, leafHash: Buffer.alloc(32).toString('base64'), signature: 'AAAA' }

/** For tests that ask nothing of the quarantine. */
export const noQuarantine: AppOptions['verbs']['quarantine'] = {
  list: notAsked,
  show: notAsked,
  open: notAsked,
  redrive: notAsked,
  redriveAll: notAsked,
  discard: notAsked,
}

/**
 * The real app on a real port, before a real JWK Set server. The verbs only echo: what the vault decides is tested
 * there; what matters here is what reaches a verb and what leaves.
 */
export async function startApp(
  t: Test,
  change: Partial<Omit<AppOptions, 'verbs'>> & {
    verbs?: Partial<AppOptions['verbs']>
    jwtChange?: Partial<AppOptions['jwt']['issuers'][number]> & Partial<Pick<AppOptions['jwt'], 'policy'>>
    /** Further issuers, each as the first but for what is said of it. */
    otherIssuers?: readonly (Partial<AppOptions['jwt']['issuers'][number]> & { readonly jwksUrl: string })[]
  } = {},
): Promise<RunningApp> {
  const { jwtChange, verbs, otherIssuers = [], ...options } = change
  const key = await createIssuerKey('key-1')
  const jwks = await startJwksServer(t, key.publicJwk)
  const calls: RunningApp['calls'] = []
  let logged = ''
  const app = await createApp({
    log: createLog('debug', {
      write: line => {
        logged += line
      },
    }),
    verbs: {
      quarantine: noQuarantine,
      evidence: { newestCheckpoint: notAsked, proveEvent: notAsked, proveGrowth: notAsked },
      searchAudit: notAsked,
      crosswalk: notAsked,
      translate: notAsked,
      approvals: { list: notAsked, show: notAsked, decide: notAsked },
      suspensions: { list: notAsked, lift: notAsked },
      keys: { list: notAsked },
      honey: { create: notAsked, list: notAsked, retire: notAsked },
      showPerson: notAsked,
      exportPerson: notAsked,
      holds: { hold: notAsked, release: notAsked },
      erasures: { erase: notAsked, show: notAsked },
      detokenize: async (principal, request) => {
        calls.push({ principal, request })
        return {
          outcome: 'complete',
          items: request.tokens.map(token => ({ token: String(token), field: 'ip', value: 'canary-value' })),
          receipt,
        }
      },
      previewDetokenize: notAsked,
      tokenize: async (principal, request) => {
        calls.push({ principal, request })
        const items = request.values.map(({ field }) => ({ field, token: `${field}_v1_token` }))
        return { outcome: 'complete', stored: request.store ?? false, items, receipt }
      },
      ...verbs,
    },
    // Every key is new; test/http/idempotency.test.ts asks the real store.
    idempotency: {
      store: { claim: async () => ({ state: 'claimed' }), complete: async () => {}, release: async () => {} },
      isAdmissible: async () => true,
    },
    health: [],
    jwt: {
      policy: jwtChange?.policy ?? acceptedJwts.policy,
      issuers: [{ jwksUrl: jwks.url, ...jwtChange }, ...otherIssuers].map(settings => {
        return { ...acceptedJwts, jwksCooldown: { unknownKidSeconds: 30, failureSeconds: 0 }, ...settings }
      }),
    },
    rateLimitPerMinute: 1_000_000,
    maxEventLoopDelayMilliseconds: 60_000,
    version: '9.9.9',
    ...options,
  })
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return { app, origin: `http://127.0.0.1:${port}`, port, key, jwks, logged: () => logged, calls }
}

/** POSTs JSON with an accepted JWT; `undefined` as jwt sends none. */
export async function post(
  { origin, key }: RunningApp,
  path: string,
  body: unknown,
  { jwt, headers = {} }: { jwt?: string; headers?: Record<string, string> } = {},
): Promise<Response> {
  const authorization = `Bearer ${jwt ?? (await signJwt(key))}`
  return fetchCalmly(`${origin}${path}`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
  })
}

/**
 * As fetch, for tests that are not about overload: compiling everything at once, on a machine with much else to do, looks
 * like it for as long as that is measured. Such a request reached nothing, so it is made again.
 */
export async function fetchCalmly(url: string, init: RequestInit): Promise<Response> {
  for (;;) {
    const response = await fetch(url, init)
    if (response.status !== 503) return response
    const { code } = (await response.clone().json()) as { code?: string }
    if (code !== 'overloaded') return response
  }
}

export interface RawReply {
  readonly status: number
  readonly headers: NodeJS.Dict<string | string[]>
  readonly text: string
}

/** Sends headers exactly as listed, repeats included, which fetch would join or refuse. */
export function sendRaw(
  port: number,
  method: string,
  path: string,
  headers: readonly string[],
  body = '',
): Promise<RawReply> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ port, host: '127.0.0.1', method, path, agent: false }, response => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', part => {
        text += part
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }))
    })
    const byName = new Map<string, string[]>()
    for (let index = 0; index < headers.length; index += 2) {
      byName.set(headers[index]!, [...(byName.get(headers[index]!) ?? []), headers[index + 1]!])
    }
    for (const [name, values] of byName) request.setHeader(name, values)
    request.on('error', reject)
    request.end(body)
  })
}
