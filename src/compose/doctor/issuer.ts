import { inspectKeySet, type KeySetFacts } from '../../http/auth/inspect-key-set.ts'
import { headerResolutionMilliseconds, judgeClock } from './clocks.ts'
import { type Check, type Finding, fail, ok, skip, warn } from './findings.ts'
import type { Subject } from './subjects.ts'

/** As long as the API waits. */
const longestMilliseconds = 5_000

/** What the issuer publishes, looked at as the API does when the first JWT comes in. */
export function checkIssuer({ config }: Subject): readonly Check[] {
  const { JWKS_URL: url, JWT_ALGORITHMS: algorithms, JWT_CLOCK_TOLERANCE_SECONDS: toleranceSeconds = 30 } = config
  const skipped = (why: string): readonly Check[] => [{ name: 'JWKS', run: async () => [skip(why)] }]
  if (config.JWT_ISSUERS_FILE !== undefined) return skipped('the issuers of JWT_ISSUERS_FILE are not looked at')
  if (url === undefined || algorithms === undefined) return skipped('JWKS_URL or JWT_ALGORITHMS is missing or wrong')
  let asked: Promise<KeySetFacts> | undefined
  const ask = (signal: AbortSignal) => {
    asked ??= inspectKeySet(
      url,
      algorithms.split(','),
      AbortSignal.any([signal, AbortSignal.timeout(longestMilliseconds)]),
    )
    return asked
  }
  return [
    { name: 'JWKS', same: url, run: async signal => judgeKeySet(url, await ask(signal)) },
    {
      name: 'clock of the issuer',
      same: url,
      run: async signal => {
        const facts = await ask(signal).catch(() => undefined)
        if (facts === undefined) return [skip('there is no answer from the issuer')]
        return [
          judgeClock(facts.dated, {
            resolutionMilliseconds: headerResolutionMilliseconds,
            toleranceSeconds,
            breaks: 'JWTs are refused as expired or as not valid yet',
          }),
        ]
      },
    },
  ]
}

function judgeKeySet(url: string, { keys, usable, private: published, refused, ambiguous }: KeySetFacts): Finding[] {
  const findings: Finding[] = []
  if (published.length > 0)
    findings.push(
      fail(
        `${listKeys(published)} of the issuer ${published.length === 1 ? 'is a secret' : 'are secrets'}: whoever reads them signs JWTs`,
        'Tell whoever runs the issuer to publish public keys only, and to replace these.',
      ),
    )
  if (usable === 0)
    findings.push(
      fail(
        `none of the ${keys} keys of the issuer can check a JWT${refused[0] === undefined ? '' : `: key ${refused[0].key} ${refused[0].because}`}`,
        'Correct JWKS_URL, or JWT_ALGORITHMS.',
      ),
    )
  if (ambiguous.length > 0)
    findings.push(
      fail(
        `${listKeys(ambiguous)} of the issuer ${ambiguous.length === 1 ? 'has' : 'have'} the kid of an earlier one: JWTs of that kid are refused`,
        'Tell whoever runs the issuer to give every key a kid of its own.',
      ),
    )
  if (isUnprotected(url))
    findings.push(
      warn(
        'keys are fetched from another host without TLS: whoever is in between can replace them',
        'Use https in JWKS_URL.',
      ),
    )
  if (usable > 0) {
    const others = refused.map(({ key, because }) => `key ${key} ${because}`).join(', ')
    findings.push(ok(`${usable} of ${keys} keys can check JWTs${others === '' ? '' : `; ${others}`}`))
  }
  return findings
}

function listKeys(places: readonly number[]): string {
  return places.length === 1 ? `key ${places[0]}` : `keys ${places.join(', ')}`
}

function isUnprotected(url: string): boolean {
  const { protocol, hostname } = new URL(url)
  return protocol === 'http:' && !/^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname)
}
