import { type Archivist, openArchivist } from '../../compose/archive.ts'
import { type KeyAdministrator, openKeyAdministrator } from '../../compose/key-administration.ts'
import { type Environment, loadConfig } from '../../config/load.ts'
import { embeddedAdminUrl, orEmbedded } from './state.ts'

/**
 * Runs the work with the keys of the vault that the environment names or, where it names no database, of the `tokenvault up`
 * on the directory.
 *
 * @throws TokenvaultError `config_invalid`, as openKeyAdministrator; whatever the work throws
 */
export async function withKeyAdministrator<T>(
  dataDir: string,
  work: (administrator: KeyAdministrator) => Promise<T>,
): Promise<T> {
  const environment = environmentOf(process.env, dataDir)
  const administrator = await openKeyAdministrator(loadConfig('migrate', environment), environment)
  try {
    return await work(administrator)
  } finally {
    await administrator.close()
  }
}

/** As withKeyAdministrator, for who moves months of rows. */
export async function withArchivist<T>(dataDir: string, work: (archivist: Archivist) => Promise<T>): Promise<T> {
  const environment = environmentOf(process.env, dataDir)
  const archivist = await openArchivist(loadConfig('migrate', environment), environment)
  try {
    return await work(archivist)
  } finally {
    await archivist.close()
  }
}

/** What the administrator of the keys is configured by. */
export function administratorEnvironment(dataDir: string): Environment {
  return environmentOf(process.env, dataDir)
}

/** That of the shell or, where it names no database, of the superuser of `tokenvault up`, who may act as its owner. */
function environmentOf(environment: Environment, dataDir: string): Environment {
  if (environment['DATABASE_URL'] || environment['DATABASE_URL_FILE']) return environment
  const url = embeddedAdminUrl(dataDir)
  if (url === undefined) return environment
  const { KEK_FILE, FIELDS_FILE } = orEmbedded({}, dataDir)
  // A KEK that takes over is named by the shell.
  const next = Object.entries(environment).filter(([name]) => name.startsWith('NEXT_'))
  return { ...Object.fromEntries(next), KEK_FILE, FIELDS_FILE, DATABASE_URL: url }
}
