import { readFileSync } from 'node:fs'
import type { Config } from '../config/variables.ts'
import { TokenvaultError } from '../errors.ts'
import type { IssuerOptions } from '../http/auth/authentication.ts'
import { parseIssuersFile } from '../vault/files/issuers-file.ts'

/**
 * Whose JWTs are accepted: the issuers of JWT_ISSUERS_FILE, or the one of JWT_ISSUER. What an issuer of the file leaves out is
 * as the variables have it.
 *
 * @throws TokenvaultError `config_invalid` with the lines that are wrong
 */
export function readIssuers(config: Config<'api'>): readonly IssuerOptions[] {
  const usual = {
    algorithms: config.JWT_ALGORITHMS.split(','),
    typ: config.JWT_TYP,
    maxLifetimeSeconds: config.JWT_MAX_LIFETIME_SECONDS,
    clockToleranceSeconds: config.JWT_CLOCK_TOLERANCE_SECONDS,
    subjectCase: config.JWT_SUBJECT_CASE,
  }
  const { JWT_ISSUERS_FILE: path, JWT_ISSUER: issuer, JWT_AUDIENCE: audience, JWKS_URL: jwksUrl } = config
  if (path !== undefined) {
    const issuers = parseIssuersFile(readText(path)).map(section => describeIssuer(section, usual))
    checkSubjectCase(issuers)
    return issuers
  }
  if (issuer === undefined || audience === undefined || jwksUrl === undefined)
    throw new TokenvaultError('config_invalid', 'neither JWT_ISSUER nor JWT_ISSUERS_FILE is set')
  const clientIds = config.JWT_CLIENT_IDS?.split(',') ?? []
  return [{ ...usual, issuer, audiences: audience.split(','), clientIds, jwksUrl }]
}

function describeIssuer(
  section: ReturnType<typeof parseIssuersFile>[number],
  usual: Pick<IssuerOptions, 'algorithms' | 'typ' | 'maxLifetimeSeconds' | 'clockToleranceSeconds' | 'subjectCase'>,
): IssuerOptions {
  return {
    issuer: section.issuer,
    jwksUrl: section.jwks_url,
    audiences: section.audiences ?? [],
    clientIds: section.client_ids ?? [],
    algorithms: section.algorithms ?? usual.algorithms,
    typ: section.typ ?? usual.typ,
    maxLifetimeSeconds: section.max_lifetime_seconds ?? usual.maxLifetimeSeconds,
    clockToleranceSeconds: section.clock_tolerance_seconds ?? usual.clockToleranceSeconds,
    subjectCase: section.subject_case ?? usual.subjectCase,
    subjectClaim: section.subject_claim,
    rolesClaims: section.roles_claims,
    roles: section.roles,
    knownAs: section.known_as,
  }
}

/** One person would be two principals, `Casey` of the one issuer and `casey` of the other. */
function checkSubjectCase(issuers: readonly IssuerOptions[]): void {
  const cases = new Map<string, IssuerOptions['subjectCase']>()
  for (const { issuer, knownAs = issuer, subjectCase } of issuers) {
    if ((cases.get(knownAs) ?? subjectCase) !== subjectCase)
      throw new TokenvaultError(
        'config_invalid',
        'JWT_ISSUERS_FILE: issuers that known_as makes one differ in subject_case',
      )
    cases.set(knownAs, subjectCase)
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new TokenvaultError('config_invalid', `JWT_ISSUERS_FILE cannot be read (${code})`)
  }
}
