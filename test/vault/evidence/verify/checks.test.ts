import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { TokenvaultError } from '../../../../src/errors.ts'
import { auditFindingMeanings } from '../../../../src/vault/evidence/verify/findings.ts'
import { verifyAudit } from '../../../../src/vault/evidence/verify/verify.ts'
import { caseVerifier, checkCases } from '../../../helpers/evidence/audit-check-cases.ts'
import { type Broken, breakSources } from '../../../helpers/source/broken-sources.ts'

const cases = checkCases()

t.test('what is wrong in one way gives exactly the finding that says so', async t => {
  for (const { title, view, external, findings } of cases)
    t.strictSame((await verifyAudit(view, { verifier: caseVerifier, external })).findings, findings, title)
})

t.test('for every finding there is something that nothing else finds', async t => {
  const alone = cases.filter(
    ({ findings }) => findings.length > 0 && new Set(findings.map(({ code }) => code)).size < 2,
  )
  t.same(new Set(alone.map(({ findings }) => findings[0]!.code)), new Set(Object.keys(auditFindingMeanings)))
})

/** The verifier's own files, which are broken on purpose below. */
const sources = ['verify', 'expected-roots', 'subtrees', 'findings'].map(name => `vault/evidence/verify/${name}.ts`)

/** Breakages after which the verifier still tells the same of every log, and why. */
const harmless: readonly (readonly [line: RegExp, why: string])[] = [
  [/onProgress/, 'progress is for people'],
  [/waiting\.length >= runLength/, 'how many roots one read compares'],
  [/if \(waiting\.length === 0\) return/, 'a read of nothing'],
  [/await subtrees\.compareRuns\(\)/, 'what is not compared on the way is compared at the end'],
  [/list\.length < maxOfOneCode/, 'the cap, which a test of its own shows'],
  [/#omitted\+\+/, 'the same'],
  [/missing \+ surplus === 0/, 'where only one of both is there the sign does not matter'],
  [/count: missing \+ surplus/, 'the same'],
  [/done \+= page\.length/, 'progress'],
]

t.test('no line of the verifier can be broken without a case that shows it', async t => {
  const survivors: string[] = []
  let copies = 0
  for (const broken of breakSources({ folder: t.testdir({}), sources, harmless: harmless.map(([line]) => line) })) {
    const isShown = await showsBreak(broken)
    if (copies++ === 0) t.notOk(isShown, 'the unbroken copy behaves')
    else if (!isShown) survivors.push(broken.title)
  }
  t.ok(copies > 90, `${copies - 1} broken verifiers`)
  t.same(survivors, [])
})

/** Whether any case tells the broken verifier from the true one. */
async function showsBreak(broken: Broken): Promise<boolean> {
  try {
    const { verifyAudit: verify } = await broken.load<{ verifyAudit: typeof verifyAudit }>(
      'vault/evidence/verify/verify.ts',
    )
    for (const { view, external, findings } of cases) {
      const result = await verify(view, { verifier: caseVerifier, external })
      if (!isDeepStrictEqual(result.findings, findings)) return true
      if (result.isIntact !== (findings.length === 0) || !result.signaturesChecked) return true
    }
    return !(await passesFailuresOn(verify))
  } catch {
    return true
  }
}

/** Whether failures of the store are passed on, and not taken for findings. */
async function passesFailuresOn(verify: typeof verifyAudit): Promise<boolean> {
  for (const failure of [new TypeError('fault'), new TokenvaultError('store_unavailable')]) {
    const view = { ...cases[0]!.view, compareSearchIndex: () => Promise.reject(failure) }
    const outcome = await verify(view).catch((error: unknown) => error)
    if (outcome !== failure) return false
  }
  return true
}
