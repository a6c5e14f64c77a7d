import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { keepSecret, readOrCreatePassword, readOrCreateSecret } from '../src/embedded/secret-file.ts'
import { kekBytes } from '../src/kms/held-key.ts'
import { loginRoles } from '../src/store/setup/role-passwords.ts'

/**
 * Makes the secrets of docker-compose.yml, each in the directory of the process that reads it. What is there already is
 * kept, so it may run at every start.
 *
 *     <root>/postgres/password                    the superuser's
 *     <root>/migrate/kek, database-url, passwords/<role>
 *     <root>/worker/kek, database-url
 *     <root>/api/kek, database-url, store-database-url, privacy-database-url
 *
 * Files get mode 0440: their owner is root, and a process reads them by its group without being able to change them.
 *
 * @param root an existing directory
 * @param server host:port of Postgres, as the processes reach it
 */
export function makeSecrets(root: string, server: string): void {
  const at = (...path: string[]) => join(root, ...path)
  const keep = (path: string, bytes: Uint8Array) => {
    keepSecret(path, () => bytes)
    chmodSync(path, 0o440)
  }
  const keepPassword = (path: string) => {
    const password = readOrCreatePassword(path)
    chmodSync(path, 0o440)
    return password
  }
  const urlOf = (role: string, password: string) => Buffer.from(`postgresql://${role}:${password}@${server}/tokenvault`)
  for (const directory of ['postgres', 'migrate/passwords', 'worker', 'api']) {
    mkdirSync(at(directory), { recursive: true, mode: 0o750 })
  }

  const kek = readOrCreateSecret(at('migrate', 'kek'), kekBytes)
  for (const reader of ['migrate', 'worker', 'api']) keep(at(reader, 'kek'), kek)
  keep(at('migrate', 'database-url'), urlOf('postgres', keepPassword(at('postgres', 'password'))))
  const passwords = new Map(loginRoles.map(role => [role, keepPassword(at('migrate', 'passwords', role))]))
  keep(at('worker', 'database-url'), urlOf('tokenvault_worker', passwords.get('tokenvault_worker')!))
  keep(at('api', 'database-url'), urlOf('tokenvault_api', passwords.get('tokenvault_api')!))
  keep(at('api', 'store-database-url'), urlOf('tokenvault_store', passwords.get('tokenvault_store')!))
  keep(at('api', 'privacy-database-url'), urlOf('tokenvault_privacy', passwords.get('tokenvault_privacy')!))
}

if (import.meta.main) {
  const [root = '/secrets', server = 'postgres:5432'] = process.argv.slice(2)
  makeSecrets(root, server)
}
