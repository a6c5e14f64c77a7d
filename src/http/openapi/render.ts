import Fastify from 'fastify'
import { declare } from '../operation.ts'
import { guardedOperations, publicOperations } from '../operations.ts'
import { openApi } from './plugin.ts'

/**
 * Builds the OpenAPI 3.1 document from the operations themselves. Needs no network, no database, no keys and no verbs.
 *
 * @param version of the product
 * @returns JSON, two spaces deep, ending in a newline: what `openapi/openapi.json` must hold, byte for byte
 */
export async function renderOpenApi(version: string): Promise<string> {
  const app = Fastify()
  await app.register(openApi, { version })
  declare(app, [...publicOperations, ...guardedOperations])
  await app.ready()
  const document = app.swagger()
  await app.close()
  return `${JSON.stringify(document, null, 2)}\n`
}
