import { inspectRole, type RoleFacts, type ServerFacts } from '../../store/postgres/inspect.ts'
import { checkDetailColumns } from '../../store/setup/detail-columns.ts'
import { inspectDatabase } from '../../store/setup/inspect.ts'
import { checkLoginColumns } from '../../store/setup/login-columns.ts'
import type { LoginRole } from '../../store/setup/role-passwords.ts'
import { readFieldsFile } from '../fields.ts'
import { judgeClock } from './clocks.ts'
import { type Check, type Finding, fail, ok, skip, warn } from './findings.ts'
import { type Subject, whenConnected } from './subjects.ts'

/** The server answers, is the primary, and nobody in between can read along. */
export function checkServer(subject: Subject): Check {
  return {
    name: 'database server',
    async run() {
      if (subject.config.DATABASE_URL === undefined) return [skip('DATABASE_URL is missing or wrong')]
      const { server } = await subject.connect()
      const findings: Finding[] = []
      if (!server.takesWrites)
        findings.push(
          fail(
            'the server takes no writes: it is a standby, or default_transaction_read_only is set',
            'Name the primary in DATABASE_URL, or reset the setting.',
          ),
        )
      findings.push(...judgeTls(server, 'DATABASE_URL'))
      const way = server.hasTls ? 'over TLS' : server.isOnThisHost ? 'on this host' : 'without TLS'
      return findings.length > 0 ? findings : [ok(`Postgres ${server.version} answers ${way} and takes writes`)]
    },
  }
}

/** The login is that of the process, and brings no rights besides. */
export function checkRole(subject: Subject): Check {
  const { role } = subject.kind
  return {
    name: 'database role',
    run: () =>
      whenConnected(subject, async ({ database }) => {
        if (role === undefined) return []
        return [judgeRole(await inspectRole(database, role), role, 'DATABASE_URL')]
      }),
  }
}

/** @param variable in which the URL of the session stands */
export function judgeRole(
  { name, isMember, attributes, memberships }: RoleFacts,
  role: LoginRole,
  variable: string,
): Finding {
  const login = `Put the login ${role} into ${variable}.`
  if (attributes.length > 0) return fail(`the login may do more than ${role}: it has ${attributes.join(', ')}`, login)
  if (!isMember) return fail(`the login is not ${role}`, login)
  if (memberships.length > 0)
    return fail(
      `the login has the rights of other roles, too: ${memberships.map(other => describeRole(other)).join(', ')}`,
      `Revoke these memberships from ${role}.`,
    )
  return ok(name === role ? `the login is ${role}, without further rights` : `the login is a member of ${role}`)
}

/** @param variable in which the URL of the session stands */
export function judgeTls({ hasTls, isOnThisHost }: ServerFacts, variable: string): readonly Finding[] {
  if (hasTls || isOnThisHost) return []
  return [
    warn(
      'the connection to another host is not encrypted',
      `Turn on ssl at the server, and put sslmode=verify-full into ${variable}.`,
    ),
  ]
}

/** What `migrate` compares: settings of the server, schema, functions, owners and grants; whether what is committed stays. */
export function checkSetup(subject: Subject): Check {
  return {
    name: 'database setup',
    same: placeOf(subject),
    run: () =>
      whenConnected(subject, async ({ database, server }) => {
        if (!server.isMigrated) return [fail('the database was not migrated yet', 'Run `tokenvault migrate`.')]
        const found = await inspectDatabase(database)
        if (found.length === 0)
          return [ok('settings, schema, owners and grants are as `tokenvault migrate` leaves them')]
        return found.map(({ status, says, remedy }) => (status === 'fail' ? fail : warn)(says, asSentence(remedy)))
      }),
  }
}

function asSentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?;]$/.test(text) ? '' : '.'}`
}

/** Names of roles of other people are theirs; ours and those of Postgres may be told. */
function describeRole(name: string): string {
  return /^(tokenvault|pg)_[a-z_]+$/.test(name) ? name : 'one that is not of this product'
}

/** Of the server against this host. */
export function checkDatabaseClock(subject: Subject): Check {
  return {
    name: 'clock of the database',
    same: placeOf(subject),
    run: () =>
      whenConnected(subject, async ({ server, sentAtMs, receivedAtMs }) => [
        judgeClock(
          { serverMs: server.nowMs, sentAtMs, receivedAtMs },
          {
            resolutionMilliseconds: 0,
            toleranceSeconds: subject.config.JWT_CLOCK_TOLERANCE_SECONDS ?? 30,
            breaks: 'approvals, budgets and suspensions are timed by it',
          },
        ),
      ]),
  }
}

/** Which server and database, whoever logs in. */
function placeOf({ config: { DATABASE_URL: url = '' } }: Subject): string {
  return url.replace(/\/\/[^/]*@/, '//')
}

/** Every field has a column that takes its tokens. */
export function checkColumns(subject: Subject): Check {
  return {
    name: 'columns',
    run: () =>
      whenConnected(subject, async ({ database }) => {
        const { fields, clear } = readFieldsFile(subject.config)
        await checkLoginColumns(database, fields)
        await checkDetailColumns(database, fields, clear)
        const details = clear.length === 0 ? '' : ', and login_details one for every clear property'
        return [ok(`user_logins has a column for every field${details}`)]
      }),
  }
}
