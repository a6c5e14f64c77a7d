import jwt from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'
import type { Principal } from '../../vault/admission/ports.ts'
import { guardJwt, type HeaderRules, JwtRefused, readBearer, VerifiedJwts } from './jwt-guard.ts'
import { createKeySource, type JwksCooldown, type JwksPatience } from './key-source.ts'
import { type ClaimRules, type KnownRoles, readPrincipal } from './principal.ts'

/** Which access tokens are accepted. */
export interface JwtOptions extends ClaimRules {
  readonly jwksUrl: string
  /** Asymmetric algorithms such as `ES256`; never `none` or `HS…`. */
  readonly algorithms: readonly string[]
  readonly typ: HeaderRules['typ']
  readonly jwksCooldown?: JwksCooldown
  readonly jwksPatience?: JwksPatience
  /** The current policy, which knows the roles and the claims that carry them. */
  readonly policy: () => KnownRoles
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
 * Authenticates every request of the scope that it is registered in, before the body is read: form first (jwt-guard),
 * then key and signature (@fastify/jwt), then every claim (principal). The first two are done once for each access token
 * and key (VerifiedJwts).
 *
 * @throws TokenvaultError `config_invalid` when an algorithm is not an asymmetric one
 */
export const authentication = fp<JwtOptions>(async (app, options) => {
  if (options.algorithms.length === 0 || !options.algorithms.every(name => asymmetric.test(name))) {
    throw new TokenvaultError('config_invalid', 'the accepted JWT algorithms must all be asymmetric')
  }
  const rules: HeaderRules = { algorithms: new Set(options.algorithms), typ: options.typ }
  const keys = createKeySource(options.jwksUrl, options.jwksCooldown, options.jwksPatience)
  await app.register(jwt, {
    secret: async (_request: FastifyRequest, jws: jwt.TokenOrHeader) => {
      const { alg, kid = '' } = 'header' in jws ? jws.header : jws
      return keys.find(alg, kid)
    },
    decode: { complete: true },
    verify: {
      algorithms: [...rules.algorithms] as Algorithm[],
      // readPrincipal reads every claim, so that one place knows the rules and the log can name the claim.
      ignoreExpiration: true,
      ignoreNotBefore: true,
      complete: true,
      cache: false,
    },
  })
  const verified = new VerifiedJwts()
  const principalFrom = (claims: Readonly<Record<string, unknown>>) =>
    readPrincipal(claims, options, Date.now() / 1000, options.policy())
  const authenticate = async (request: FastifyRequest): Promise<Principal> => {
    const { rawHeaders } = request.raw
    const bearer = readBearer(rawHeaders)
    const known = verified.get(bearer)
    if (known !== undefined && (await keys.find(known.alg, known.kid)) === known.pem) return principalFrom(known.claims)
    const { alg, kid } = guardJwt(rawHeaders, rules)
    const pem = await keys.find(alg, kid)
    const { payload: claims } = await verify(request)
    const principal = principalFrom(claims)
    // The key may have changed in between, and then nobody can say which one it was.
    if ((await keys.find(alg, kid)) === pem) verified.add(bearer, { alg, kid, claims, pem })
    return principal
  }
  app.decorateRequest('principal', null)
  app.addHook('onRequest', async request => {
    request.principal = await authenticate(request)
  })
})

async function verify(request: FastifyRequest): Promise<{ payload: Readonly<Record<string, unknown>> }> {
  try {
    return await request.jwtVerify()
  } catch (cause) {
    if (cause instanceof TokenvaultError) throw cause
    // No text of the library's goes on: it may quote what it read.
    throw new JwtRefused('signature_invalid', {}, { cause })
  }
}

/** @returns who asks; every route of an authenticated scope has one */
export function principalOf(request: FastifyRequest): Principal {
  if (request.principal === null) throw new TokenvaultError('unauthenticated', 'the route is outside the guarded scope')
  return request.principal
}
