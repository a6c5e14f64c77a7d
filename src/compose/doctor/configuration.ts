import { realpathSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { variablesOf } from '../../config/variables.ts'
import { openToOthers } from '../../kms/secret-access.ts'
import { loginRoles } from '../../store/setup/role-passwords.ts'
import { readFields } from '../fields.ts'
import { policyPlace, readPolicy } from '../policy.ts'
import { type Check, type Finding, fail, ok, warn } from './findings.ts'
import type { Subject } from './subjects.ts'

/** Every variable that the process reads, and the files that hold variables. */
export function checkConfiguration({ kind, config, problems, environment, isGiven }: Subject): Check {
  return {
    name: 'configuration',
    async run() {
      const variables = variablesOf(kind.reads)
      const openFiles = findOpenFiles([...variables.keys()], environment)
      if (problems.length > 0) {
        const remedy = `Correct it; docs/configuration.md lists every variable.`
        return [...problems.map(problem => fail(problem, remedy)), ...openFiles]
      }
      const set = [...variables.keys()].filter(isGiven).length
      const defaults = [...variables.keys()].filter(name => !isGiven(name) && Object.hasOwn(config, name)).length
      return [ok(`${set} set, ${defaults} left at their defaults`), ...openFiles]
    },
  }
}

/** Secrets in files that others on this machine may read; the KEK's own file is checked where it is opened. */
function findOpenFiles(names: readonly string[], environment: Subject['environment']): Finding[] {
  const files = names
    .filter(name => !name.endsWith('_FILE') && environment[`${name}_FILE`])
    .map(name => ({ says: `the file of ${name}_FILE`, path: environment[`${name}_FILE`]! }))
  const directory = names.includes('ROLE_PASSWORDS_DIR') ? environment['ROLE_PASSWORDS_DIR'] : undefined
  if (directory)
    files.push(
      ...loginRoles.map(role => ({ says: `the file ${role} of ROLE_PASSWORDS_DIR`, path: join(directory, role) })),
    )
  return files.flatMap(({ says, path }) => {
    const access = findAccess(path)
    return access === undefined
      ? []
      : [warn(`${says} is open to others, who can ${access} it`, 'Chmod 600 it, or chmod 700 its directory.')]
  })
}

/** A file that is not there, or may not be read, is told as a problem of its variable. */
function findAccess(path: string): 'read' | 'change' | undefined {
  if (process.getuid === undefined) return undefined
  try {
    const place = realpathSync(path)
    return openToOthers(place, statSync(place).mode, process.getuid())
  } catch {
    return undefined
  }
}

/** The file that names the fields, or the two fields that there are without one. */
export function checkFields({ config }: Subject): Check {
  return {
    name: 'fields file',
    same: config.FIELDS_FILE ?? '',
    async run() {
      const fields = readFields(config)
      const source = config.FIELDS_FILE === undefined ? 'no FIELDS_FILE, so the fields are' : 'the fields are'
      return [ok(`${source} ${[...fields.keys()].join(', ')}`)]
    },
  }
}

/** The policy, which knows the fields. */
export function checkPolicy({ config }: Subject): Check {
  return {
    name: 'policy file',
    async run() {
      const fields = readFields(config)
      const { roles } = readPolicy(policyPlace(config), fields)
      const source = config.POLICY_FILE === undefined ? 'no POLICY_FILE, so the policy that ships applies' : 'valid'
      return [ok(`${source}: ${roles.size} roles`)]
    },
  }
}
