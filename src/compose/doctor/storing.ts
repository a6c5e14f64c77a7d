import { privacyDatabaseUrl, storeDatabaseUrl } from '../../config/load.ts'
import { createSecondLoginHealth } from '../../store/original-writer.ts'
import { createDatabase } from '../../store/postgres/database.ts'
import { inspectRole, inspectServer } from '../../store/postgres/inspect.ts'
import type { LoginRole } from '../../store/setup/role-passwords.ts'
import { judgeRole, judgeTls } from './database.ts'
import { type Check, ok, skip } from './findings.ts'
import { type Subject, statementTimeoutMilliseconds, whenConnected } from './subjects.ts'

/** A second login of the API: for what, and what its findings say. */
interface SecondLogin {
  readonly name: string
  readonly variable: 'STORE_DATABASE_URL' | 'PRIVACY_DATABASE_URL'
  readonly role: LoginRole
  readonly whenAbsent: string
  readonly may: string
}

/** The login with which the API stores: it is that of the role, leads to the vault's database, and may insert there. */
export function checkStoring(subject: Subject): Check {
  return checkSecondLogin(subject, () => storeDatabaseUrl(subject.config), {
    name: 'storing',
    variable: 'STORE_DATABASE_URL',
    role: 'tokenvault_store',
    whenAbsent: 'the API stores no values',
    may: 'may store',
  })
}

/** The login with which the API answers people: the same of tokenvault_privacy. */
export function checkPeople(subject: Subject): Check {
  return checkSecondLogin(subject, () => privacyDatabaseUrl(subject.config), {
    name: 'people',
    variable: 'PRIVACY_DATABASE_URL',
    role: 'tokenvault_privacy',
    whenAbsent: 'the API answers nothing about people',
    may: 'may read rows of people',
  })
}

function checkSecondLogin(subject: Subject, urlOf: () => (() => string) | undefined, login: SecondLogin): Check {
  const { name, variable, role, whenAbsent, may } = login
  return {
    name,
    async run() {
      if (!subject.isGiven(variable)) return [ok(`${variable} is not set: ${whenAbsent}`)]
      const url = urlOf()
      if (url === undefined) return [skip(`${variable} is wrong`)]
      return whenConnected(subject, async ({ database: vault }) => {
        const database = createDatabase({
          url,
          urlName: variable,
          poolMax: 1,
          applicationName: 'tokenvault doctor',
          statementTimeoutMilliseconds,
        })
        subject.defer(() => void database.destroy())
        const judged = judgeRole(await inspectRole(database, role), role, variable)
        const wrong = [judged, ...judgeTls(await inspectServer(database), variable)].filter(
          ({ status }) => status !== 'ok',
        )
        await createSecondLoginHealth(database, vault, role, variable).check()
        return wrong.length > 0 ? wrong : [ok(`the login is ${role}, which ${may} in this database`)]
      })
    },
  }
}
