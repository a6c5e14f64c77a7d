import { randomUUID } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { publishError } from './sinks.ts'

/** File or object that holds the recovery of the keys, beside the checkpoints. */
export const recoveryName = 'recovery.age'

/** Where the newest recovery of the keys stands, and no earlier one: that could hold a key that was destroyed. */
export interface RecoveryPlace {
  /** Puts it in place of the one that is there. @throws TokenvaultError `checkpoint_unavailable` */
  writeRecovery(sealed: string): Promise<void>
  /** @throws TokenvaultError `checkpoint_unavailable` */
  removeRecovery(): Promise<void>
}

/** A file of a directory that exists, seen whole or not at all. */
export function createFileRecovery(directory: string): RecoveryPlace {
  const path = join(directory, recoveryName)
  return {
    async writeRecovery(sealed) {
      const draft = join(directory, `.${recoveryName}.${randomUUID()}`)
      try {
        const file = await open(draft, 'wx', 0o600)
        try {
          await file.writeFile(sealed)
          await file.sync()
        } finally {
          await file.close()
        }
        await rename(draft, path)
      } catch (error) {
        await rm(draft, { force: true })
        throw publishError('the file of the recovery cannot be written', error)
      }
    },
    async removeRecovery() {
      try {
        await rm(path, { force: true })
      } catch (error) {
        throw publishError('the file of the recovery cannot be removed', error)
      }
    },
  }
}
