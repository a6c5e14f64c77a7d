import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest, preHandlerAsyncHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'
import type { IsAdmissible } from '../../vault/admission/admissible.ts'
import type { IdempotencyStore, Principal } from '../../vault/admission/ports.ts'
import { principalOf } from '../auth/authentication.ts'
import type { RequestLog } from '../server/replies.ts'
import { idempotencyHeaders } from './header.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** What the request claimed, until its reply is kept or the claim is given back. */
    idempotencyClaim: { readonly principal: Principal; readonly key: string } | null
  }
}

const keyShape = /^[ -~]{1,255}$/

export interface IdempotencyOptions {
  readonly store: IdempotencyStore
  readonly isAdmissible: IsAdmissible
}

/**
 * Makes a repeat of a state-changing request harmless (draft-ietf-httpapi-idempotency-key-header-07, section 2), on the
 * routes whose schema names `idempotencyHeaders`. Only what succeeded is kept and replayed. An operation that refuses has
 * changed nothing, so its claim is given back and the request may be repeated. If an operation fails, nobody knows whether a
 * commit took effect whose reply was lost: its claim stays until it expires, and until then a repeat is answered
 * `idempotency_in_progress`. A repeat is authenticated like any request, and gives the caller the reply that the caller
 * had before; it is not an action, so it leaves no evidence.
 *
 * A key is claimed, or looked up, only for a caller who may do what is asked. Any other gets no further than the verb,
 * which refuses and leaves evidence of that: no key is taken, no kept reply is told, nor that there is one.
 *
 * Register it after authentication and before the routes.
 */
export const idempotency = fp<IdempotencyOptions & { log: RequestLog }>(async (app, options) => {
  const { store, isAdmissible, log } = options
  const claim: preHandlerAsyncHookHandler = async (request, reply) => {
    const header = findKey(request)
    if (header === undefined) return
    const principal = principalOf(request)
    const { needs } = request.routeOptions.config
    if (!(await isAdmissible(principal, needs!))) return
    // A caller may put anything into a key, and nothing of that kind gets into the database.
    const key = digest(header)
    const found = await store.claim(principal, key, fingerprintOf(request))
    if (found.state === 'other_request') throw new TokenvaultError('idempotency_key_reused')
    if (found.state === 'in_progress') throw new TokenvaultError('idempotency_in_progress')
    if (found.state === 'claimed') {
      request.idempotencyClaim = { principal, key }
      return
    }
    return reply
      .code(found.status)
      .header('idempotency-replayed', 'true')
      .type('application/json; charset=utf-8')
      .send(found.body)
  }

  const settle = async (request: FastifyRequest, reply: FastifyReply, payload: unknown) => {
    const claimed = request.idempotencyClaim
    if (claimed === null) return payload
    request.idempotencyClaim = null
    const { principal, key } = claimed
    const { statusCode: status } = reply
    try {
      if (status < 300 && typeof payload === 'string') await store.complete(principal, key, { status, body: payload })
      else if (isRefusal(status)) await store.release(principal, key)
    } catch (err) {
      // What was done is done, and is told. A repeat is answered `idempotency_in_progress` until the claim runs out.
      log.error({ event: 'idempotency_not_kept', requestId: request.id, err })
    }
    return payload
  }

  app.decorateRequest('idempotencyClaim', null)
  app.addHook('onRoute', route => {
    if (route.schema?.headers !== idempotencyHeaders) return
    if (route.config?.needs === undefined)
      throw new TokenvaultError('internal', 'an idempotent operation names no capability')
    Object.assign(route, {
      preValidation: withHook(route.preValidation, async (request: FastifyRequest) => void findKey(request)),
      preHandler: withHook(route.preHandler, claim),
      onSend: withHook(route.onSend, settle),
    })
  })
})

/** The operation said no, which it does before it changes anything. */
function isRefusal(status: number): boolean {
  return status >= 400 && status < 500
}

function withHook<Hook>(hooks: Hook | Hook[] | undefined, hook: unknown): Hook[] {
  return [...(Array.isArray(hooks) ? hooks : hooks === undefined ? [] : [hooks]), hook as Hook]
}

/** @throws TokenvaultError `idempotency_key_invalid`, also where the header stands twice: node would join the two */
function findKey(request: FastifyRequest): string | undefined {
  const { rawHeaders } = request.raw
  const values = rawHeaders.filter(
    (_, index) => index % 2 === 1 && rawHeaders[index - 1]!.toLowerCase() === 'idempotency-key',
  )
  const [key] = values
  if (key === undefined) return undefined
  if (values.length > 1 || !keyShape.test(key)) throw new TokenvaultError('idempotency_key_invalid')
  return key
}

/** Requests that ask for the same have the same, whatever the order in which a body names its properties. */
function fingerprintOf({ method, routeOptions, params, body }: FastifyRequest): string {
  return digest(canonicalJson([method, routeOptions.url, params, body ?? null])).slice(0, 22)
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_name, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  )
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
