import { storeDatabaseUrl } from '../../config/load.ts'
import { createStoringHealth } from '../../store/original-writer.ts'
import { createDatabase } from '../../store/postgres/database.ts'
import { inspectRole, inspectServer } from '../../store/postgres/inspect.ts'
import { judgeRole, judgeTls } from './database.ts'
import { type Check, ok, skip } from './findings.ts'
import { type Subject, statementTimeoutMilliseconds, whenConnected } from './subjects.ts'

const variable = 'STORE_DATABASE_URL'

/** The login with which the API stores: it is that of the role, leads to the vault's database, and may insert there. */
export function checkStoring(subject: Subject): Check {
  return {
    name: 'storing',
    async run() {
      if (!subject.isGiven(variable)) return [ok(`${variable} is not set: the API stores no values`)]
      const url = storeDatabaseUrl(subject.config)
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
        const role = judgeRole(await inspectRole(database, 'tokenvault_store'), 'tokenvault_store', variable)
        const wrong = [role, ...judgeTls(await inspectServer(database), variable)].filter(
          ({ status }) => status !== 'ok',
        )
        await createStoringHealth(database, vault).check()
        return wrong.length > 0 ? wrong : [ok('the login is tokenvault_store, which may store in this database')]
      })
    },
  }
}
