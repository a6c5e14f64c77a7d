import t from 'tap'
import { parseIssuersFile } from '../../../src/vault/files/issuers-file.ts'

const entry = 'issuer: https://a.test, jwks_url: "https://a.test/keys", audiences: [vault]'
const file = (...entries: string[]) => `version: 1\nissuers:\n${entries.map(text => `  - { ${text} }\n`).join('')}`

t.test('an issuer has what is set, and nothing else', t => {
  const settings = 'algorithms: [ES256], typ: at+jwt, max_lifetime_seconds: 600, clock_tolerance_seconds: 5'
  const names =
    'subject_claim: oid, subject_case: ignore, roles_claims: [groups], roles: [support], known_as: https://b.test'
  const [first, second] = parseIssuersFile(file(`${entry}, ${settings}, ${names}`, entry.replace('a.test', 'b.test')))
  t.match(first, { algorithms: ['ES256'], typ: 'at+jwt', max_lifetime_seconds: 600, known_as: 'https://b.test' })
  t.doesNotThrow(() => parseIssuersFile(file(`${entry}, known_as: "https://a.test"`)), 'known as itself')
  t.same(second, { issuer: 'https://b.test', jwks_url: 'https://a.test/keys', audiences: ['vault'] })
  t.end()
})

t.test('each mistake is told by line and column, and quotes nothing', t => {
  const wrong: Readonly<Record<string, RegExp>> = {
    [file()]: /issuers/,
    [file(entry, entry)]: /^JWT_ISSUERS_FILE line 4, column 15: issuer is that of an earlier entry$/,
    [file(
      entry,
      `${entry.replace('a.test', 'b.test')}, known_as: "https://c.test"`,
      `${entry.replace('a.test', 'canary.test')}, known_as: "https://b.test"`,
    )]: /^JWT_ISSUERS_FILE line 5, column \d+: known_as is an issuer that is itself known as another$/,
    [file(entry.replace('audiences: [vault]', 'typ: any'))]: /an issuer needs audiences, or client_ids, or both$/,
    [file(entry.replace('"https://a.test/keys"', 'ftp://canary.test'))]: /jwks_url is not a URL that begins with/,
    [file(entry.replace('"https://a.test/keys"', '"https://"'))]: /jwks_url is not a URL that begins with/,
    [file(`${entry}, algorithms: [HS256]`)]: /is not an asymmetric algorithm such as ES256$/,
    [file(`${entry}, algorithms: [none]`)]: /is not an asymmetric algorithm such as ES256$/,
    [file(`${entry}, audience: canary`)]: /audience/,
    [file(`${entry}, subject_claim: " canary"`)]: /subject_claim/,
  }
  for (const [text, message] of Object.entries(wrong)) {
    t.throws(() => parseIssuersFile(text), { code: 'config_invalid', message }, text)
    try {
      parseIssuersFile(text)
    } catch (error) {
      t.notMatch((error as Error).message, /canary/)
    }
  }
  t.end()
})
