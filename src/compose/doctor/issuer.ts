import type { Config } from '../../config/variables.ts'
import type { IssuerOptions } from '../../http/auth/authentication.ts'
import { inspectKeySet, type KeySetFacts } from '../../http/auth/inspect-key-set.ts'
import { readIssuers } from '../issuers.ts'
import { headerResolutionMilliseconds, judgeClock } from './clocks.ts'
import { type Check, type Finding, fail, failed, ok, skip, warn } from './findings.ts'
import type { Subject } from './subjects.ts'

/** As long as the API waits. */
const longestMilliseconds = 5_000

/** What each issuer publishes, looked at as the API does when the first JWT comes in. */
export function checkIssuers({ config }: Subject): readonly Check[] {
  // Whole but for what is told by the check of the configuration.
  if (config.JWT_ALGORITHMS === undefined) return [{ name: 'JWKS', run: async () => [skip('JWT_ALGORITHMS is wrong')] }]
  let issuers: ReturnType<typeof readIssuers>
  try {
    issuers = readIssuers(config as Config<'api'>)
  } catch (error) {
    return [{ name: 'JWKS', run: async () => failed(error) }]
  }
  return issuers.flatMap((issuer, place) => {
    const title = issuers.length === 1 ? '' : `issuer ${place + 1} of ${issuers.length}: `
    return checkIssuer(issuer, finding => ({ ...finding, says: `${title}${finding.says}` }))
  })
}

function checkIssuer(
  { jwksUrl: url, algorithms, clockToleranceSeconds }: IssuerOptions,
  name: (finding: Finding) => Finding,
): readonly Check[] {
  let asked: Promise<KeySetFacts> | undefined
  const ask = (signal: AbortSignal) => {
    asked ??= inspectKeySet(url, algorithms, AbortSignal.any([signal, AbortSignal.timeout(longestMilliseconds)]))
    return asked
  }
  return [
    {
      name: 'JWKS',
      run: async signal => {
        try {
          return judgeKeySet(url, await ask(signal)).map(name)
        } catch (error) {
          return failed(error).map(name)
        }
      },
    },
    {
      name: 'clock of the issuer',
      run: async signal => {
        const facts = await ask(signal).catch(() => undefined)
        if (facts === undefined) return [name(skip('there is no answer from the issuer'))]
        const clock = judgeClock(facts.dated, {
          resolutionMilliseconds: headerResolutionMilliseconds,
          toleranceSeconds: clockToleranceSeconds,
          breaks: 'JWTs are refused as expired or as not valid yet',
        })
        return [name(clock)]
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
        'Correct the URL of its keys, or the accepted algorithms.',
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
        'Use https in the URL of its keys.',
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
