import { readFileSync } from 'node:fs'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

/** JSON Schema as it stands in the document, references and all. */
export type Schema = Readonly<Record<string, unknown>>

export interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly required?: boolean
  readonly schema: Schema
}

/** One operation of openapi/openapi.json. */
export interface Operation {
  readonly id: string
  readonly method: string
  /** With parameters in braces. */
  readonly path: string
  readonly isProtected: boolean
  readonly parameters: readonly Parameter[]
  readonly body: Schema | undefined
  /** What a reply of each status must be. */
  readonly replies: ReadonlyMap<number, DocumentedReply>
}

export interface DocumentedReply {
  readonly mediaType: string
  readonly isValid: ValidateFunction
  /** Codes that the document gives for the status; empty for successes. */
  readonly codes: ReadonlySet<string>
}

interface Document {
  readonly paths: Record<string, Record<string, DocumentedOperation>>
  readonly components: { readonly schemas: Record<string, Schema> }
}

interface DocumentedOperation {
  readonly operationId: string
  readonly security: readonly unknown[]
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Record<string, { readonly schema: Schema }> }
  readonly responses: Record<
    string,
    { readonly content: Record<string, { readonly examples: Record<string, { readonly $ref?: string }> }> }
  >
}

/** Reads the committed document, so that whoever adds a route has it tried without a word here. */
export function readOperations() {
  const document: Document = JSON.parse(readFileSync(new URL('../../../openapi/openapi.json', import.meta.url), 'utf8'))
  const ajv = new Ajv2020({ strict: false, allErrors: false })
  addFormats.default(ajv)
  ajv.addSchema({ $id: 'doc', ...document })
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): Operation => {
      const place = `doc#/paths/${escapePointer(path)}/${method}/responses`
      const replies = Object.entries(operation.responses).map(([status, { content }]) => {
        const [[mediaType, { examples }]] = Object.entries(content) as [[string, (typeof content)[string]]]
        const $ref = `${place}/${status}/content/${escapePointer(mediaType)}/schema`
        const codes = new Set(Object.values(examples).flatMap(({ $ref }) => $ref?.split('/').at(-1) ?? []))
        return [Number(status), { mediaType, isValid: ajv.compile({ $ref }), codes }] as const
      })
      return {
        id: operation.operationId,
        method: method.toUpperCase(),
        path,
        isProtected: operation.security.length > 0,
        parameters: operation.parameters ?? [],
        body: operation.requestBody?.content['application/json']?.schema,
        replies: new Map(replies),
      }
    }),
  )
  return {
    operations,
    isProblem: ajv.compile({ $ref: 'doc#/components/schemas/Problem' }),
    /** Follows a reference of the document. */
    resolve: (schema: Schema): Schema => {
      const name = typeof schema['$ref'] === 'string' ? schema['$ref'].split('/').at(-1) : undefined
      return name === undefined ? schema : document.components.schemas[name]!
    },
  }
}

function escapePointer(text: string): string {
  return encodeURIComponent(text.replaceAll('~', '~0').replaceAll('/', '~1'))
}
