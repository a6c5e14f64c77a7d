import { closeSync, fstatSync, openSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { TokenvaultError } from '../errors.ts'

/**
 * Reads a secret's file, or what a link to it names.
 *
 * @param name the variable that names it, for messages
 * @throws TokenvaultError `kek_unavailable` where it cannot be read, or others than its owner and group can come at it
 */
export function readSecretFile(name: string, path: string): Buffer {
  let place: string
  let mode: number
  let bytes: Buffer
  try {
    // Without links, as Kubernetes makes two of them: the directories that are looked at are those of the file that is read.
    place = realpathSync(path)
    // One descriptor, so that what is checked is what is read.
    const file = openSync(place, 'r')
    try {
      mode = fstatSync(file).mode
      bytes = readFileSync(file)
    } finally {
      closeSync(file)
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new TokenvaultError('kek_unavailable', `${name} cannot be read (${code})`)
  }
  if (process.getuid !== undefined) checkAccess(name, place, mode, process.getuid())
  return bytes
}

function checkAccess(name: string, place: string, mode: number, uid: number): void {
  const access = openToOthers(place, mode, uid)
  if (access === undefined) return
  const others = `${name} is open to others (mode ${(mode & 0o777).toString(8).padStart(4, '0')})`
  if (access === 'change') {
    throw new TokenvaultError('kek_unavailable', `${others}, who can do more than read it; chmod 600 it`)
  }
  throw new TokenvaultError(
    'kek_unavailable',
    `${others}, and they can enter every directory above it. Chmod 600 it, or chmod 700 its directory. ` +
      'A secret mount: give it mode 0440 and a group of this process (Kubernetes: defaultMode and fsGroup; Docker: mode and gid)',
  )
}

/**
 * What others can do with a secret's file. The group may read: that is how an orchestrator hands a secret to a process that
 * is not root. Everybody may read as far as the file's own mode goes, as secret mounts leave it (0444), where nobody else
 * can come near it: to open a file, a process must be able to enter every directory above it.
 *
 * @param place the file, without links
 * @param uid of this process
 * @returns undefined where nobody else can read or change it
 */
export function openToOthers(place: string, mode: number, uid: number): 'read' | 'change' | undefined {
  if ((mode & 0o027) === 0) return undefined
  if ((mode & 0o033) !== 0) return 'change'
  return directoriesAbove(place).some(directory => isPrivate(directory, uid)) ? undefined : 'read'
}

function directoriesAbove(place: string): string[] {
  const above = dirname(place)
  return above === place ? [] : [above, ...directoriesAbove(above)]
}

/** Whether only root, this process's user and a group can enter the directory, and only these users change what it holds. */
function isPrivate(directory: string, ownUid: number): boolean {
  const { mode, uid } = statSync(directory)
  return (uid === 0 || uid === ownUid) && (mode & 0o023) === 0
}
