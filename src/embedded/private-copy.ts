import {
  chmodSync,
  constants,
  cpSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Copies a directory where every user can read it and only this one can have written it. The copy is made once and
 * found again by its name; since names in /tmp can be squatted, it is used only when every entry is as in the source,
 * owned by this user and writable by nobody else.
 *
 * @param isNeeded by path, what to copy
 * @param isUsable asked of each copy, e.g. whether programs may run there (noexec); false tries the next directory
 * @returns the path of the copy, or undefined where no temporary directory will do
 */
export function copyOnce(
  source: string,
  name: string,
  isNeeded: (path: string) => boolean,
  isUsable: (copy: string) => boolean,
  directories: readonly string[] = [tmpdir(), '/var/tmp'],
): string | undefined {
  for (const directory of directories.filter(isSafeParent)) {
    const copy = join(directory, name)
    try {
      if (!isFaithful(copy, source, isNeeded)) replace(copy, source, isNeeded)
      if (isFaithful(copy, source, isNeeded) && isUsable(copy)) return copy
      removeOurs(copy)
    } catch {
      // Full, read-only or squatted: the next directory may do.
    }
  }
  return undefined
}

/** In a directory of others, only the sticky bit keeps them from putting their own in place of ours. */
function isSafeParent(directory: string): boolean {
  const parent = statSync(directory, { throwIfNoEntry: false })
  if (parent === undefined || (parent.uid !== 0 && parent.uid !== process.getuid?.())) return false
  return (parent.mode & 0o022) === 0 || (parent.mode & 0o1000) !== 0
}

function replace(copy: string, source: string, isNeeded: (path: string) => boolean): void {
  // A cleaner of old temporary files may have thinned it out.
  removeOurs(copy)
  const temporary = mkdtempSync(`${copy}-`)
  try {
    cpSync(source, temporary, {
      recursive: true,
      filter: isNeeded,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE,
    })
    for (const path of ['', ...entries(temporary, isNeeded)]) {
      if (!lstatSync(join(temporary, path)).isSymbolicLink()) chmodSync(join(temporary, path), 0o755)
    }
    renameSync(temporary, copy)
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    // Another process may have been faster; whether its copy is good is asked next.
    if (lstatSync(copy, { throwIfNoEntry: false }) === undefined) throw error
  }
}

function removeOurs(copy: string): void {
  const isOurs = lstatSync(copy, { throwIfNoEntry: false })?.uid === process.getuid?.()
  if (isOurs) rmSync(copy, { recursive: true, force: true })
}

function isFaithful(copy: string, source: string, isNeeded: (path: string) => boolean): boolean {
  return ['', ...entries(source, isNeeded)].every(path => {
    const found = lstatSync(join(copy, path), { throwIfNoEntry: false })
    const wanted = lstatSync(join(source, path))
    return (
      found !== undefined &&
      found.uid === process.getuid?.() &&
      (found.mode & 0o170000) === (wanted.mode & 0o170000) &&
      (found.isSymbolicLink() || (found.mode & 0o022) === 0) &&
      (!found.isFile() || found.size === wanted.size)
    )
  })
}

function entries(root: string, isNeeded: (path: string) => boolean, path = ''): string[] {
  return readdirSync(join(root, path), { withFileTypes: true }).flatMap(entry => {
    const inner = join(path, entry.name)
    if (!isNeeded(join(root, inner))) return []
    return entry.isDirectory() ? [inner, ...entries(root, isNeeded, inner)] : [inner]
  })
}
