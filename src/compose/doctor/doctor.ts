import { checkCheckpoints } from './checkpoints.ts'
import { checkConfiguration, checkFields, checkPolicy } from './configuration.ts'
import { checkColumns, checkDatabaseClock, checkRole, checkServer, checkSetup } from './database.ts'
import { type Check, type Examined, type FindingStatus, runChecks } from './findings.ts'
import { checkIssuers } from './issuer.ts'
import { checkFieldRecord, checkKek, checkKeyLifecycle, checkKeys, checkRecovery } from './keys.ts'
import { checkQueue } from './queue.ts'
import { checkPeople, checkStoring } from './storing.ts'
import { type Given, openSubject, type Subject, type SubjectName } from './subjects.ts'

const longestMilliseconds = 10_000

/** What a whole examination found. */
export interface Diagnosis {
  readonly counts: Readonly<Record<FindingStatus, number>>
  /** In the order in which they were told. */
  readonly checks: readonly Examined[]
}

/**
 * Checks what processes would be started with, without starting them: nothing is changed, received or written.
 *
 * @param tell told every finding as soon as it and those before it are known
 */
export async function diagnose(given: readonly Given[], tell: (finding: Examined) => void): Promise<Diagnosis> {
  const subjects = given.map(openSubject)
  try {
    const checks = subjects.flatMap(subject => checksOf(subject).map(check => ({ subject: subject.name, check })))
    const found = await runChecks(checks, { longestMilliseconds, tell })
    const count = (status: FindingStatus) => found.filter(finding => finding.status === status).length
    return { counts: { ok: count('ok'), warn: count('warn'), fail: count('fail'), skip: count('skip') }, checks: found }
  } finally {
    await Promise.all(subjects.map(subject => subject.close()))
  }
}

/** Who is asked about what: everything that it would read or call. */
const checkers: readonly (readonly [names: readonly SubjectName[], checks: (subject: Subject) => readonly Check[]])[] =
  [
    [['migrate', 'worker', 'api', 'lambda', 'dlq', 'auditor', 'analyst'], subject => [checkConfiguration(subject)]],
    [['migrate', 'worker', 'api', 'lambda', 'auditor'], subject => [checkFields(subject)]],
    [['api'], subject => [checkPolicy(subject)]],
    [['migrate', 'worker', 'api', 'lambda'], subject => [checkKek(subject)]],
    [
      ['migrate', 'worker', 'api', 'lambda', 'auditor', 'analyst'],
      subject => [checkServer(subject), checkDatabaseClock(subject), checkSetup(subject)],
    ],
    [['worker', 'api', 'lambda', 'auditor', 'analyst'], subject => [checkRole(subject)]],
    [['worker', 'api', 'lambda'], subject => [checkKeys(subject)]],
    [['worker', 'api', 'lambda', 'auditor'], subject => [checkFieldRecord(subject)]],
    [['migrate'], subject => [checkRecovery(subject), checkKeyLifecycle(subject)]],
    [['api'], subject => [checkStoring(subject), checkPeople(subject)]],
    [['worker', 'lambda'], subject => [checkColumns(subject)]],
    [['worker', 'dlq'], checkQueue],
    [['api'], checkIssuers],
    [['api'], subject => [checkCheckpoints(subject)]],
  ]

function checksOf(subject: Subject): readonly Check[] {
  return checkers.flatMap(([names, checks]) => (names.includes(subject.name) ? checks(subject) : []))
}
