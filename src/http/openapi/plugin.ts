import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import fp from 'fastify-plugin'
import { completeDocument, openApiHead } from './document.ts'

// The page's own files and nothing else; it is served over plain HTTP on a developer's machine, so no upgrade.
const pagePolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** GET /openapi.json and the page /docs, to which / leads, all public. Register it before the operations that it describes. */
export const openApi = fp<{ version: string }>(async (app, { version }) => {
  await app.register(swagger, {
    openapi: openApiHead(version) as never,
    transformObject: document =>
      completeDocument(('openapiObject' in document ? document.openapiObject : {}) as never) as never,
  })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: pagePolicy,
    theme: { title: 'tokenvault API' },
    uiConfig: { validatorUrl: null, persistAuthorization: false },
  })
  // Relative, since a proxy may serve the API below a path of its own.
  app.get('/', { schema: { hide: true } }, async (_request, reply) => reply.redirect('docs', 302))
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
})
