import jwt from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'
import type { Principal } from '../../vault/admission/ports.ts'
import { guardJwt, type HeaderRules, JwtRefused, readBearer, VerifiedJwts } from './jwt-guard.ts'
import { createKeySource, type JwksCooldown, type JwksPatience, type KeySource } from './key-source.ts'
import { type ClaimRules, type KnownRoles, readPrincipal } from './principal.ts'

/** Which access tokens of one issuer are accepted. */
export interface IssuerOptions extends ClaimRules {
  readonly jwksUrl: string
  /** Asymmetric algorithms such as `ES256`; never `none` or `HS…`. */
  readonly algorithms: readonly string[]
  readonly typ: HeaderRules['typ']
  readonly jwksCooldown?: JwksCooldown
  readonly jwksPatience?: JwksPatience
}

/** Whose access tokens are accepted. */
export interface JwtOptions {
  /** At least one, no two of one name. */
  readonly issuers: readonly IssuerOptions[]
  /** The current policy, which knows the roles and the claims that carry them. */
  readonly policy: () => KnownRoles
}

/** An issuer, and the keys that check its tokens and nobody else's. */
interface Issuer extends HeaderRules {
  readonly claimRules: ClaimRules
  readonly keys: KeySource
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
 * and key (VerifiedJwts). Which issuer's rules and keys count is chosen by `iss`, which is checked again with the signature
 * of that issuer's key upon it.
 *
 * @throws TokenvaultError `config_invalid` when an algorithm is not an asymmetric one
 */
export const authentication = fp<JwtOptions>(async (app, { issuers: options, policy }) => {
  const issuers = openIssuers(options)
  // What a token says it is until its signature is checked; the library asks for the key by the request alone.
  const claimed = new WeakMap<FastifyRequest, Issuer>()
  await app.register(jwt, {
    secret: async (request: FastifyRequest, jws: jwt.TokenOrHeader) => {
      const { alg, kid } = 'header' in jws ? jws.header : jws
      return claimed.get(request)!.keys.find(alg, kid)
    },
    decode: { complete: true },
    verify: {
      // The guard has compared the algorithm with those of the token's own issuer.
      algorithms: [...new Set(options.flatMap(({ algorithms }) => algorithms))] as Algorithm[],
      // readPrincipal reads every claim, so that one place knows the rules and the log can name the claim.
      ignoreExpiration: true,
      ignoreNotBefore: true,
      complete: true,
      cache: false,
    },
  })
  const verified = new VerifiedJwts<Issuer>()
  const principalFrom = ({ claimRules }: Issuer, claims: Readonly<Record<string, unknown>>) =>
    readPrincipal(claims, claimRules, Date.now() / 1000, policy())
  const authenticate = async (request: FastifyRequest): Promise<Principal> => {
    const { rawHeaders } = request.raw
    const bearer = readBearer(rawHeaders)
    const known = verified.get(bearer)
    if (known !== undefined && (await known.issuer.keys.find(known.alg, known.kid)) === known.pem)
      return principalFrom(known.issuer, known.claims)
    const { alg, kid, rules: issuer } = guardJwt(rawHeaders, claims => chooseIssuer(issuers, claims))
    claimed.set(request, issuer)
    const pem = await issuer.keys.find(alg, kid)
    const { payload: claims } = await verify(request)
    const principal = principalFrom(issuer, claims)
    // The key may have changed in between, and then nobody can say which one it was.
    if ((await issuer.keys.find(alg, kid)) === pem) verified.add(bearer, { alg, kid, claims, pem, issuer })
    return principal
  }
  app.decorateRequest('principal', null)
  app.addHook('onRequest', async request => {
    request.principal = await authenticate(request)
  })
})

/** @returns the issuers by name, each with keys of its own */
function openIssuers(options: readonly IssuerOptions[]): ReadonlyMap<string, Issuer> {
  const names = options.flatMap(({ algorithms }) => (algorithms.length === 0 ? [''] : algorithms))
  if (options.length === 0 || !names.every(name => asymmetric.test(name))) {
    throw new TokenvaultError('config_invalid', 'the accepted JWT algorithms must all be asymmetric')
  }
  return new Map(
    options.map(({ algorithms, typ, jwksUrl, jwksCooldown, jwksPatience, ...claimRules }) => {
      const keys = createKeySource(jwksUrl, jwksCooldown, jwksPatience)
      return [claimRules.issuer, { algorithms: new Set(algorithms), typ, claimRules, keys }]
    }),
  )
}

/** A single issuer needs no choice: readPrincipal compares `iss` once the signature is checked. */
function chooseIssuer(issuers: ReadonlyMap<string, Issuer>, { iss }: Readonly<Record<string, unknown>>): Issuer {
  if (issuers.size === 1) return issuers.values().next().value!
  const issuer = typeof iss === 'string' ? issuers.get(iss) : undefined
  if (issuer !== undefined) return issuer
  throw new JwtRefused(iss === undefined ? 'missing' : typeof iss === 'string' ? 'mismatch' : 'malformed', {
    claim: 'iss',
  })
}

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
