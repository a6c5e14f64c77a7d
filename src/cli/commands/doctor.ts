import { type Command, Option } from 'commander'
import { diagnose } from '../../compose/doctor/doctor.ts'
import type { Examined } from '../../compose/doctor/findings.ts'
import { type Given, guessSubjects, type SubjectName, subjectNames } from '../../compose/doctor/subjects.ts'
import { TokenvaultError } from '../../errors.ts'
import { embeddedSubjects } from '../local/embedded-subjects.ts'
import { dataDirOption } from '../terminal/options.ts'
import { print, printable } from '../terminal/print.ts'

interface DoctorOptions {
  readonly only?: readonly SubjectName[]
  readonly json?: true
  readonly dataDir: string
}

/** Options and action of `tokenvault doctor`. */
export function configure(command: Command): void {
  command
    .addOption(dataDirOption())
    .addOption(
      new Option(
        '--only <names...>',
        'check for these alone (default: what the variables that are set are for)',
      ).choices([...subjectNames]),
    )
    .option('--json', 'print one JSON line')
    .addHelpText(
      'after',
      `
It reads the same variables as the process that is checked; run it where that process runs, with its environment. Without
DATABASE_URL, SQS_QUEUE_URL, JWKS_URL, JWT_ISSUER and JWT_ISSUERS_FILE, the servers of the \`tokenvault up\` on --data-dir are checked.

  ok    as it must be
  warn  it works, and a promise of the product does not hold, or will not once something else fails
  FAIL  a process that is started like this does not do its work; exit code 1
  skip  it could not be looked at, and the line says why

Nothing is changed, received or written.`,
    )
    .action(async ({ only, json, dataDir }: DoctorOptions) => {
      const given = choose(process.env, dataDir, only)
      const { counts, checks } = await diagnose(given, finding => {
        if (!json) print(describe(finding))
      })
      if (json) print(JSON.stringify({ counts, checks: checks.map(toJson) }))
      else print(`${counts.ok} ok, ${counts.warn} warn, ${counts.fail} FAIL, ${counts.skip} skipped`)
      if (counts.fail > 0) process.exitCode = 1
    })
}

/** @throws TokenvaultError `usage` where there is nothing to check */
function choose(environment: NodeJS.ProcessEnv, dataDir: string, only: readonly SubjectName[] | undefined): Given[] {
  const guessed = guessSubjects(environment)
  const embedded = guessed.length > 0 ? undefined : embeddedSubjects(dataDir)
  const chosen = embedded?.filter(({ name }) => only?.includes(name) ?? true) ?? []
  if (chosen.length > 0) return chosen
  const names = only ?? guessed
  if (names.length > 0) return names.map(name => ({ name, environment }))
  throw new TokenvaultError(
    'usage',
    'nothing is configured here, and no `tokenvault up` ran on --data-dir; set the variables of the process to check, or name it with --only',
  )
}

const wordWidth = 4
const subjectWidth = Math.max(...subjectNames.map(name => name.length))

/** One line: status, for whom, what was checked, what was found, what to do. */
function describe({ status, subject, check, says, remedy }: Examined): string {
  const word = status === 'fail' ? 'FAIL' : status
  const line = `${word.padEnd(wordWidth)}  ${subject.padEnd(subjectWidth)}  ${check}: ${says}`
  return printable(remedy === undefined ? line : `${line}${/[.!?]$/.test(says) ? '' : '.'} ${remedy}`)
}

/** The names that scripts read. */
function toJson({ subject, check, status, says, remedy }: Examined) {
  return { subject, check, status, says, remedy: remedy ?? null }
}
