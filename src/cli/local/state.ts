import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { InvalidArgumentError } from 'commander'

/** Where `tokenvault up` keeps its state unless told otherwise. */
export const defaultDataDir = '.tokenvault'

/** For --data-dir: an empty text, as of a variable that is not set, would mean the current directory. */
export function parseDataDir(text: string): string {
  if (text === '') throw new InvalidArgumentError('It must not be empty.')
  return text
}

/** Where the servers of `tokenvault up` listen; without any secret. */
export interface Running {
  readonly apiUrl: string
  readonly queueUrl?: string
  /** Without a login. */
  readonly databaseUrl?: string
}

export function writeRunning(dataDir: string, running: Running): void {
  writeFileSync(join(dataDir, 'running.json'), `${JSON.stringify(running)}\n`, { mode: 0o600 })
}

/** @returns undefined where `tokenvault up` never ran on the directory */
export function readRunning(dataDir: string): Running | undefined {
  try {
    return JSON.parse(readFileSync(join(dataDir, 'running.json'), 'utf8'))
  } catch {
    return undefined
  }
}
