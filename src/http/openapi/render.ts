import { TokenvaultError } from '../../errors.ts'
import { createApp } from '../app.ts'

/**
 * Builds the OpenAPI 3.1 document from the routes themselves. Needs no network, no database and no keys.
 *
 * @returns JSON, two spaces deep, ending in a newline: what `openapi/openapi.json` must hold, byte for byte
 */
export async function renderOpenApi(): Promise<string> {
  const neverCalled = async () => {
    throw new TokenvaultError('internal')
  }
  const app = await createApp({
    log: { info: () => undefined, error: () => undefined },
    verbs: {
      detokenize: neverCalled,
      tokenize: neverCalled,
      evidence: { newestCheckpoint: neverCalled, proveEvent: neverCalled, proveGrowth: neverCalled },
      searchAudit: neverCalled,
      approvals: { list: neverCalled, show: neverCalled, decide: neverCalled },
      suspensions: { list: neverCalled, lift: neverCalled },
      quarantine: {
        list: neverCalled,
        show: neverCalled,
        open: neverCalled,
        redrive: neverCalled,
        redriveAll: neverCalled,
        discard: neverCalled,
      },
    },
    idempotency: { claim: neverCalled, complete: neverCalled, release: neverCalled },
    health: [],
    jwt: {
      jwksUrl: 'https://issuer.invalid/jwks.json',
      issuer: 'https://issuer.invalid',
      audience: 'tokenvault',
      algorithms: ['ES256'],
      maxLifetimeSeconds: 60,
    },
    rateLimitPerMinute: 1,
    version: '0',
  })
  await app.ready()
  const document = app.swagger()
  await app.close()
  return `${JSON.stringify(document, null, 2)}\n`
}
