import { type Static, Type } from 'typebox'
import { type Complain, entriesOf, membersOf, readYamlFile } from './yaml-file.ts'

const algorithm = '(RS|ES|PS)(256|384|512)|EdDSA'
const printable = (description: string) =>
  Type.String({
    pattern: '^(?! )[^\\p{Cc}\\p{Cf}\\p{Cs}\\p{Zl}\\p{Zp}]{1,1024}(?<! )$',
    errorMessage: 'is empty, or has spaces around it or characters that do not show',
    description,
  })
const list = (entry: ReturnType<typeof Type.String>, description: string) =>
  Type.Array(entry, { minItems: 1, uniqueItems: true, description })
const url = 'is not a URL that begins with https:// or http://'

const issuer = Type.Object(
  {
    issuer: printable('The claim iss of its JWTs, letter by letter.'),
    jwks_url: Type.String({
      pattern: '^https?://[^\\s]+$',
      errorMessage: url,
      description: 'Where it publishes its public keys. They check its own JWTs and nobody else’s.',
    }),
    audiences: Type.Optional(list(printable('A name.'), 'Accepted values of aud; a JWT needs one of them.')),
    client_ids: Type.Optional(
      list(printable('A client.'), 'client_id values accepted from JWTs without aud, with token_use access (Cognito).'),
    ),
    algorithms: Type.Optional(
      list(
        Type.String({ pattern: `^(${algorithm})$`, errorMessage: 'is not an asymmetric algorithm such as ES256' }),
        'Accepted algorithms; those of JWT_ALGORITHMS unless set.',
      ),
    ),
    typ: Type.Optional(Type.Enum(['any', 'at+jwt'], { description: 'Accepted typ; that of JWT_TYP unless set.' })),
    max_lifetime_seconds: Type.Optional(
      Type.Integer({ minimum: 60, maximum: 86_400, description: 'JWT_MAX_LIFETIME_SECONDS of this issuer.' }),
    ),
    clock_tolerance_seconds: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 300, description: 'JWT_CLOCK_TOLERANCE_SECONDS of this issuer.' }),
    ),
    subject_claim: Type.Optional(printable('The claim that says who the caller is: sub unless set; oid for Entra.')),
    subject_case: Type.Optional(Type.Enum(['exact', 'ignore'], { description: 'JWT_SUBJECT_CASE of this issuer.' })),
    roles_claims: Type.Optional(
      list(printable('A claim.'), 'Claims that carry roles; those of the policy unless set.'),
    ),
    roles: Type.Optional(
      list(printable('A role.'), 'The only roles of the policy that this issuer may give; all of them unless set.'),
    ),
    known_as: Type.Optional(
      printable(
        'Its principals are those of this other issuer: one principal with the same subject, in evidence, budgets, approvals and suspensions.',
      ),
    ),
  },
  { additionalProperties: false, title: 'an issuer' },
)

/** The shape of JWT_ISSUERS_FILE. */
export const issuersFileSchema = Type.Object(
  {
    version: Type.Literal(1, { description: 'Version of the shape of this file.' }),
    issuers: Type.Array(issuer, { minItems: 1, description: 'The issuers, each of another name.' }),
  },
  { additionalProperties: false, title: 'Issuers of tokenvault', description: 'Whose JWTs are accepted.' },
)

/** One issuer as the file has it. */
export type IssuerSection = Static<typeof issuer>

/**
 * Reads the issuers whose JWTs are accepted from YAML 1.2 or JSON.
 *
 * @throws TokenvaultError `config_invalid` with every problem by line and column, quoting nothing of the text
 */
export function parseIssuersFile(text: string): readonly IssuerSection[] {
  const { content } = readYamlFile(text, {
    schema: issuersFileSchema,
    code: 'config_invalid',
    name: 'JWT_ISSUERS_FILE',
    check: checkIssuers,
  })
  return content.issuers
}

/** What the schema cannot say. */
function checkIssuers(content: unknown, complain: Complain): void {
  const seen = new Set<unknown>()
  const sections = entriesOf(new Map(membersOf(content)).get('issuers')).map(entry => new Map(membersOf(entry)))
  const knownAs = new Map(sections.map(section => [section.get('issuer'), section.get('known_as')]))
  for (const [place, section] of sections.entries()) {
    const path = ['issuers', place]
    if (seen.has(section.get('issuer'))) complain([...path, 'issuer'], 'issuer is that of an earlier entry')
    seen.add(section.get('issuer'))
    if (!section.has('audiences') && !section.has('client_ids'))
      complain(path, 'an issuer needs audiences, or client_ids, or both')
    // Its principals would be those of an issuer that has none: one person would be two.
    const other = section.get('known_as')
    if (![undefined, other].includes(knownAs.get(other)))
      complain([...path, 'known_as'], 'known_as is an issuer that is itself known as another')
    const address = section.get('jwks_url')
    if (typeof address === 'string' && !URL.canParse(address)) complain([...path, 'jwks_url'], `jwks_url ${url}`)
  }
}
