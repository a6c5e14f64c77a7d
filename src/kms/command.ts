import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { TokenvaultError } from '../errors.ts'
import type { KeyEncryptionKey } from '../vault/keys/ports.ts'
import { createHeldKek, kekBytes } from './held-key.ts'

/** More than 32 bytes have in any spelling that is read. */
const longestOutputBytes = 256

/**
 * A key-encryption key that a command prints, such as the client of a secret store: 32 bytes as they are, in base64 or in
 * hexadecimal digits, with or without a newline. The command runs once, when the process starts.
 *
 * @param command a line for the shell
 * @param options.environment of the command, but for the variables that hold our own secrets
 * @param options.timeoutMilliseconds after which it is killed; 30,000 when absent
 * @throws TokenvaultError `kek_unavailable`, which repeats nothing that the command printed
 */
export async function openCommandKek(
  command: string,
  options: {
    readonly environment: Readonly<Record<string, string | undefined>>
    readonly timeoutMilliseconds?: number
  },
): Promise<KeyEncryptionKey> {
  const { environment, timeoutMilliseconds = 30_000 } = options
  const refuse = (problem: string) => new TokenvaultError('kek_unavailable', `KEK_COMMAND ${problem}`)
  const child = start(command, environment, refuse)
  const kill = () => {
    try {
      if (child.pid !== undefined) process.kill(process.platform === 'win32' ? child.pid : -child.pid, 'SIGKILL')
    } catch {
      // It has ended.
    }
  }
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    kill()
  }, timeoutMilliseconds)
  try {
    const ended = once(child, 'close') as Promise<[number | null]>
    const output = await readStart(child.stdout, longestOutputBytes, kill)
    const [exitCode] = await ended
    if (isLate) throw refuse(`did not end within ${timeoutMilliseconds / 1000} s; run it by hand to see why`)
    if (output === undefined) throw refuse(`printed more than a key of ${kekBytes} bytes`)
    if (exitCode !== 0) throw refuse(`failed (exit code ${exitCode ?? 'none'}); run it by hand to see why`)
    const bytes = decode(output)
    output.fill(0)
    if (bytes === undefined)
      throw refuse(`printed no key: ${kekBytes} bytes as they are, in base64 or in hexadecimal digits`)
    return createHeldKek('KEK_COMMAND', bytes)
  } catch (error) {
    if (error instanceof TokenvaultError) throw error
    throw refuse('cannot be started')
  } finally {
    clearTimeout(timer)
  }
}

/** @throws what `refuse` gives: of a command with a NUL, or while the machine has no process or file left */
function start(
  command: string,
  environment: Readonly<Record<string, string | undefined>>,
  refuse: (problem: string) => TokenvaultError,
) {
  try {
    return spawn(command, {
      shell: true,
      env: withoutOurs(environment),
      // What it complains about may hold a secret, and standard error is a log.
      stdio: ['ignore', 'pipe', 'ignore'],
      // A group of its own: a shell that is killed leaves what it started.
      detached: process.platform !== 'win32',
    })
  } catch {
    throw refuse('cannot be started')
  }
}

/** Where a URL or a secret of ours stands: a client of a secret store has no use for them, and may send its environment along. */
const kept = /^(?:(?:[A-Z]+_)?DATABASE_URL|PGPASSWORD|APPROVAL_WEBHOOK_SECRET)(?:_FILE)?$/

function withoutOurs(environment: Readonly<Record<string, string | undefined>>): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !kept.test(name)))
}

/** @returns undefined where there is more, and then `stop` was called */
async function readStart(stream: AsyncIterable<Buffer>, most: number, stop: () => void): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of stream) {
    chunks.push(chunk)
    length += chunk.length
    if (length <= most) continue
    stop()
    return undefined
  }
  return Buffer.concat(chunks)
}

/** 32 bytes may look like text; 43, 44 and 64 characters cannot be mistaken for them. */
function decode(output: Buffer): Buffer | undefined {
  if (output.length === kekBytes) return Buffer.from(output)
  const text = output.toString('latin1').replace(/\r?\n$/, '')
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex')
  if (/^[A-Za-z0-9+/]{43}=?$/.test(text) || /^[A-Za-z0-9_-]{43}=?$/.test(text)) return Buffer.from(text, 'base64')
  return undefined
}
