import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose'
import { TokenvaultError } from '../errors.ts'
import { listenFailure } from './free-port.ts'
import { keepSecret, readIfThere } from './secret-file.ts'

/** The `iss` of every development JWT. No port in it, so that a JWT outlives a restart on other ports. */
export const embeddedIssuer = 'https://issuer.tokenvault.localhost'

/** What a development JWT says. */
export interface JwtClaims {
  readonly subject: string
  readonly roles: readonly string[]
  /** `exp` − `iat`, in seconds. */
  readonly lifetimeSeconds: number
}

/** A development issuer that runs: it publishes its public key and signs. */
export interface EmbeddedIssuer {
  readonly port: number
  readonly issuer: string
  readonly jwksUrl: string
  readonly audience: string
  sign(claims: JwtClaims): Promise<string>
  stop(): Promise<void>
}

const algorithm = 'ES256'
const jwksPath = '/.well-known/jwks.json'

/**
 * Starts the development issuer on 127.0.0.1, with the key pair kept in `issuer.jwk` (mode 0600) of the directory.
 *
 * @param options.port 0 picks a free one
 * @throws TokenvaultError `port_unavailable`; `embedded_failed` when the kept key is not one
 */
export async function startIssuer(options: {
  readonly dataDir: string
  readonly port: number
  readonly audience: string
}): Promise<EmbeddedIssuer> {
  const { dataDir, audience } = options
  const created = await createKey()
  const key = parseKey(keepSecret(keyPath(dataDir), () => Buffer.from(JSON.stringify(created))))
  const jwks = JSON.stringify({ keys: [publicPart(key)] })
  const server = createServer((request, response) => {
    const isFound = request.url === jwksPath && (request.method === 'GET' || request.method === 'HEAD')
    response.writeHead(isFound ? 200 : 404, { 'content-type': 'application/jwk-set+json', 'cache-control': 'no-cache' })
    response.end(isFound ? jwks : undefined)
  })
  try {
    await once(server.listen({ host: '127.0.0.1', port: options.port, exclusive: true }), 'listening')
  } catch (error) {
    throw listenFailure(error, 'the issuer', options.port)
  }
  const { port } = server.address() as AddressInfo
  return {
    port,
    issuer: embeddedIssuer,
    jwksUrl: `http://127.0.0.1:${port}${jwksPath}`,
    audience,
    sign: claims => sign(key, audience, claims),
    async stop() {
      if (!server.listening) return
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

/**
 * Signs a JWT with the key kept in the directory; the issuer need not run.
 *
 * @throws TokenvaultError `usage` when the directory holds no key yet
 */
export async function signWithDataDir(dataDir: string, audience: string, claims: JwtClaims): Promise<string> {
  const kept = readIfThere(keyPath(dataDir))
  if (kept === undefined) {
    throw new TokenvaultError('usage', 'The data directory holds no issuer.jwk yet; run `tokenvault up` first')
  }
  return sign(parseKey(kept), audience, claims)
}

/** Whether an issuer answers there with the key that is kept in the directory, which no other issuer has. */
export async function publishesKeyOf(dataDir: string, jwksUrl: string): Promise<boolean> {
  const kept = readIfThere(keyPath(dataDir))
  if (kept === undefined) return false
  const { kid } = parseKey(kept)
  try {
    const reply = await fetch(jwksUrl, { signal: AbortSignal.timeout(patienceMs) })
    const { keys } = (await reply.json()) as { keys: readonly { kid?: unknown }[] }
    return keys.some(key => key.kid === kid)
  } catch {
    // Nobody answers, or somebody else with another page.
    return false
  }
}

const patienceMs = 3_000

type PrivateKey = JWK & { readonly kid: string }

function keyPath(dataDir: string): string {
  return join(dataDir, 'issuer.jwk')
}

async function createKey(): Promise<PrivateKey> {
  const { privateKey } = await generateKeyPair(algorithm, { extractable: true })
  const jwk = await exportJWK(privateKey)
  // RFC 7638: the thumbprint names the key by what it is.
  return { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: algorithm, use: 'sig' }
}

function parseKey(text: Buffer): PrivateKey {
  try {
    const key: PrivateKey = JSON.parse(text.toString('utf8'))
    if (key.kty === 'EC' && typeof key.kid === 'string' && typeof key.d === 'string') return key
  } catch {
    // Told below, without the text that did not parse: it may be most of a private key.
  }
  throw new TokenvaultError('embedded_failed', 'issuer.jwk is not a private key; remove it to make a new one')
}

/** By allow-list: a private member can never be published. */
function publicPart({ kty, crv, x, y, kid, alg, use }: PrivateKey): JWK {
  return { kty, crv, x, y, kid, alg, use } as JWK
}

async function sign(key: PrivateKey, audience: string, claims: JwtClaims): Promise<string> {
  const issuedAt = Math.floor(Date.now() / 1000)
  return new SignJWT({ roles: [...claims.roles] })
    .setProtectedHeader({ alg: algorithm, kid: key.kid, typ: 'JWT' })
    .setIssuer(embeddedIssuer)
    .setAudience(audience)
    .setSubject(claims.subject)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + claims.lifetimeSeconds)
    .setJti(randomUUID())
    .sign(await importJWK(key, algorithm))
}
