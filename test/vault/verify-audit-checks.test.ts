import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { TokenvaultError } from '../../src/errors.ts'
import { auditFindingMeanings } from '../../src/vault/audit-findings.ts'
import { verifyAudit } from '../../src/vault/verify-audit.ts'
import { caseVerifier, checkCases } from '../helpers/audit-check-cases.ts'

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
const sources = ['verify-audit', 'checkpoint-marks', 'subtree-check', 'audit-findings'] as const

/** One way to break a line; each match of a pattern in a file makes a broken verifier. */
const breakages: readonly (readonly [RegExp, string])[] = [
  [/!==/g, '==='],
  [/===/g, '!=='],
  [/ < /g, ' >= '],
  [/ < /g, ' <= '],
  [/ > /g, ' <= '],
  [/ > /g, ' >= '],
  [/ >= /g, ' > '],
  [/ \+ 1\b/g, ''],
  [/ \+ /g, ' - '],
  [/ - /g, ' + '],
  [/ && /g, ' || '],
  [/ \|\| /g, ' && '],
  [/\+\+/g, ''],
  [/^ +(?:this\.#|findings\.|await |marks\.|walk\.)[^\n]*\([^\n]*\)$/gm, ''],
  [/\breturn true\b/g, 'return false'],
  [/\breturn false\b/g, 'return true'],
  [/^ +(?:if [^\n]* )?return$/gm, ''],
  [/\bcontinue\b/g, ''],
  [/\?\?=/g, '='],
]

/** Breakages after which the verifier still tells the same of every log, and why. */
const harmless: readonly (readonly [line: RegExp, why: string])[] = [
  [/onProgress/, 'progress is for people'],
  [/waiting\.length >= runLength/, 'how many roots one read compares'],
  [/if \(waiting\.length === 0\) return/, 'a read of nothing'],
  [/await subtrees\.compareRuns\(\)/, 'what is not compared on the way is compared at the end'],
  [/state\.compared \+ runLength/, 'how many of what stands too many are counted'],
  [/list\.length < maxOfOneCode/, 'the cap, which a test of its own shows'],
  [/#omitted\+\+/, 'the same'],
  [/missing \+ surplus === 0/, 'where only one of both is there the sign does not matter'],
  [/count: missing \+ surplus/, 'the same'],
  [/done \+= page\.length/, 'progress'],
]

t.test('no line of the verifier can be broken without a case that shows it', async t => {
  const folder = t.testdir({})
  const whole = readFileSync(new URL('../../src/vault/verify-audit.ts', import.meta.url), 'utf8')
  t.notOk(await isShown(writeBroken(join(folder, 'whole'), 'verify-audit', whole)), 'the unbroken copy behaves')
  const survivors: string[] = []
  let broken = 0
  for (const name of sources) {
    const original = readFileSync(new URL(`../../src/vault/${name}.ts`, import.meta.url), 'utf8')
    for (const [pattern, replacement] of breakages) {
      for (const match of original.matchAll(pattern)) {
        const line = lineOf(original, match.index)
        if (/^\s*(\*|\/\/|\/\*|import|for )/.test(line) || harmless.some(([known]) => known.test(line))) continue
        const text = original.slice(0, match.index) + replacement + original.slice(match.index + match[0].length)
        broken++
        if (!(await isShown(writeBroken(join(folder, String(broken)), name, text))))
          survivors.push(`${name}: ${line.trim()}  →  ${match[0].trim()} became ${replacement || 'nothing'}`)
      }
    }
  }
  t.ok(broken > 50, `${broken} broken verifiers`)
  t.same(survivors, [])
})

function lineOf(text: string, index: number): string {
  const from = text.lastIndexOf('\n', index) + 1
  const to = text.indexOf('\n', Math.max(index, from))
  // A breakage that takes a whole line matches from its indentation on.
  return text.slice(from, to < 0 ? undefined : to)
}

/** The verifier's files with one of them replaced; everything else is imported from src. */
function writeBroken(folder: string, broken: string, text: string): string {
  mkdirSync(folder)
  for (const name of sources) {
    const source = new URL(`../../src/vault/${name}.ts`, import.meta.url)
    const content = name === broken ? text : readFileSync(source, 'utf8')
    const elsewhere = content.replace(/'(\.\.?\/[^']+)'/g, (whole, specifier: string) =>
      sources.some(own => specifier === `./${own}.ts`) ? whole : `'${new URL(specifier, source).href}'`,
    )
    writeFileSync(join(folder, `${name}.ts`), elsewhere)
  }
  return join(folder, 'verify-audit.ts')
}

/** Whether any case tells the broken verifier from the true one. */
async function isShown(path: string): Promise<boolean> {
  try {
    const { verifyAudit: brokenVerify } = (await import(pathToFileURL(path).href)) as {
      verifyAudit: typeof verifyAudit
    }
    for (const { view, external, findings } of cases) {
      const result = await brokenVerify(view, { verifier: caseVerifier, external })
      if (!isDeepStrictEqual(result.findings, findings)) return true
      if (result.isIntact !== (findings.length === 0) || !result.signaturesChecked) return true
    }
    return !(await passesFailuresOn(brokenVerify))
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
