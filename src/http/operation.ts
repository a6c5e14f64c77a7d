import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type {
  ContextConfigDefault,
  FastifyInstance,
  FastifySchema,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
  RouteGenericInterface,
  RouteHandlerMethod,
} from 'fastify'
import { TokenvaultError } from '../errors.ts'
import type { Capability } from '../vault/policy/policy.ts'
import { batchBodyBytes } from './server/bodies.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of a guarded operation: the capability without which its verb refuses. */
    readonly needs?: Capability
  }
}

/** One operation of the API: what the document says of it, and how it is served once its needs are there. */
export interface Operation<in Needs> {
  readonly method: 'GET' | 'POST'
  readonly url: string
  /** Another path of the same operation, which the document does not list. */
  readonly alias?: string
  readonly schema: FastifySchema
  /** The capability without which its verb refuses every call; an operation that takes an Idempotency-Key names it. */
  readonly needs?: Capability
  /** Its body holds a batch, so it may be larger. */
  readonly takesBatch?: boolean
  /** It is answered also while the process cannot keep up. */
  readonly isServedUnderLoad?: boolean
  readonly serve: (needs: Needs) => RouteHandlerMethod
}

/** What all operations of a list need, together. */
export type NeedsOf<Operations extends readonly Operation<never>[]> = [Operations[number]] extends [
  Operation<infer Needs>,
]
  ? Needs
  : never

/** The handler of an operation: the schema types its request and its replies. */
type Handler<Schema extends FastifySchema> = RouteHandlerMethod<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  RouteGenericInterface,
  ContextConfigDefault,
  Schema,
  TypeBoxTypeProvider
>

/** Declares an operation. Nothing is registered by it: the `routes.ts` of its folder lists it. */
export function operation<const Schema extends FastifySchema, Needs>(
  declared: Omit<Operation<Needs>, 'schema' | 'serve'> & {
    readonly schema: Schema
    readonly serve: (needs: Needs) => Handler<Schema>
  },
): Operation<Needs> {
  // fastify types a handler by its schema; a list of operations holds many schemas.
  return declared as unknown as Operation<Needs>
}

/** Registers operations in the order given, each served by what it needs. */
export function serve<Needs>(
  app: FastifyInstance,
  operations: readonly Operation<NoInfer<Needs>>[],
  needs: Needs,
): void {
  for (const operation of operations) register(app, operation, operation.serve(needs))
}

/** Registers operations that nobody will call, for who wants to read what they say of themselves. */
export function declare(app: FastifyInstance, operations: readonly Operation<never>[]): void {
  for (const operation of operations) {
    register(app, operation, async () => {
      throw new TokenvaultError('internal', 'the operation is declared and not served')
    })
  }
}

function register(app: FastifyInstance, operation: Operation<never>, handler: RouteHandlerMethod): void {
  const { method, url, alias, schema, needs, takesBatch, isServedUnderLoad } = operation
  // What @fastify/under-pressure asks instead of refusing the request.
  const pressure = isServedUnderLoad ? { pressureHandler: () => undefined } : {}
  const config: object = { ...pressure, ...(needs === undefined ? {} : { needs }) }
  const limits = takesBatch ? { bodyLimit: batchBodyBytes } : {}
  app.route({ method, url, schema, config, ...limits, handler })
  if (alias !== undefined)
    app.route({ method, url: alias, schema: { ...schema, hide: true }, config, ...limits, handler })
}
