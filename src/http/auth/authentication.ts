import jwt from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'
import type { Principal } from '../../vault/admission/ports.ts'
import type { Policy } from '../../vault/policy/policy.ts'
import { guardJwt, readBearer, VerifiedJwts } from './jwt-guard.ts'
import { createKeySource, type JwksCooldown, type JwksPatience } from './key-source.ts'
import { clockToleranceSeconds, readPrincipal } from './principal.ts'

/** Which access tokens are accepted. */
export interface JwtOptions {
  readonly jwksUrl: string
  readonly issuer: string
  readonly audience: string
  /** Asymmetric algorithms such as `ES256`; never `none` or `HS…`. */
  readonly algorithms: readonly string[]
  /** Longest `exp` − `iat`. */
  readonly maxLifetimeSeconds: number
  readonly jwksCooldown?: JwksCooldown
  readonly jwksPatience?: JwksPatience
  /** The current policy, which names the claims that carry roles; `roles` when absent. */
  readonly policy?: () => Pick<Policy, 'rolesClaims'>
}

declare module 'fastify' {
  interface FastifyRequest {
    principal: Principal | null
  }
}

declare module '@fastify/jwt' {
  interface FastifyJWT {
    /** With `complete: true` the library gives header and payload. */
    user: { readonly payload: Readonly<Record<string, unknown>> }
  }
}

type Algorithm = NonNullable<NonNullable<jwt.FastifyJWTOptions['verify']>['algorithms']>[number]

const asymmetric = /^(RS|ES|PS)(256|384|512)$|^EdDSA$/

/**
 * Authenticates every request of the scope that it is registered in, before the body is read: form first
 * (jwt-guard), then key, signature and registered claims (@fastify/jwt), then what is left (principal). The first two are
 * done once for each access token and key (VerifiedJwts).
 *
 * @throws TokenvaultError `config_invalid` when an algorithm is not an asymmetric one
 */
export const authentication = fp<JwtOptions>(async (app, options) => {
  if (options.algorithms.length === 0 || !options.algorithms.every(name => asymmetric.test(name))) {
    throw new TokenvaultError('config_invalid', 'JWT algorithms: name asymmetric ones only')
  }
  const algorithms = new Set(options.algorithms)
  const keys = createKeySource(options.jwksUrl, options.jwksCooldown, options.jwksPatience)
  await app.register(jwt, {
    secret: async (_request: FastifyRequest, jws: jwt.TokenOrHeader) => {
      const { alg, kid = '' } = 'header' in jws ? jws.header : jws
      return keys.find(alg, kid)
    },
    decode: { complete: true },
    verify: {
      algorithms: [...algorithms] as Algorithm[],
      allowedIss: options.issuer,
      allowedAud: options.audience,
      // Without this a token that lacks iss or aud passes the two lines above.
      requiredClaims: ['iss', 'aud', 'sub', 'exp', 'iat'],
      clockTolerance: clockToleranceSeconds * 1000,
      complete: true,
      cache: false,
    },
  })
  const verified = new VerifiedJwts()
  const findClaims = async (request: FastifyRequest) => {
    const { rawHeaders } = request.raw
    const bearer = readBearer(rawHeaders)
    const known = verified.get(bearer)
    if (known !== undefined && (await keys.find(known.alg, known.kid)) === known.pem) return known.claims
    const { alg, kid } = guardJwt(rawHeaders, algorithms)
    const pem = await keys.find(alg, kid)
    const { payload: claims } = await verify(request)
    // The key may have changed in between, and then nobody can say which one it was.
    if ((await keys.find(alg, kid)) === pem) verified.add(bearer, { alg, kid, claims, pem })
    return claims
  }
  app.decorateRequest('principal', null)
  app.addHook('onRequest', async request => {
    const claims = await findClaims(request)
    request.principal = readPrincipal(
      claims,
      options.maxLifetimeSeconds,
      Date.now() / 1000,
      options.policy?.().rolesClaims,
    )
  })
})

async function verify(request: FastifyRequest): Promise<{ payload: Readonly<Record<string, unknown>> }> {
  try {
    return await request.jwtVerify()
  } catch (error) {
    if (error instanceof TokenvaultError) throw error
    // The library's codes are its own words; its messages may quote claims.
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw new TokenvaultError('unauthenticated', `refused by the JWT library: ${code}`)
  }
}

/** @returns who asks; every route of an authenticated scope has one */
export function principalOf(request: FastifyRequest): Principal {
  if (request.principal === null) throw new TokenvaultError('unauthenticated', 'the route is outside the guarded scope')
  return request.principal
}
