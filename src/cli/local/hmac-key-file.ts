import { closeSync, fstatSync, openSync, readSync, realpathSync } from 'node:fs'
import { TokenvaultError } from '../../errors.ts'
import { openToOthers } from '../../kms/secret-access.ts'
import { describeUnreadable } from '../terminal/failure.ts'

/** Bytes of a key, at most: what the API takes. */
const maxKeyBytes = 1024

/**
 * Reads the key of an HMAC from a file that nobody but its owner and group can read or change, or from a pipe
 * (`<(command)`). The line break at the end of a file of plain text is what an editor or `echo` put there, and not part of
 * the key; every other byte is.
 *
 * @param what how the file is called in errors
 * @throws TokenvaultError `usage`
 */
export function readHmacKey(path: string, what: string): Buffer {
  const bytes = readSecret(path, what)
  const key = isText(bytes) ? bytes.subarray(0, bytes.at(-2) === 0x0d ? -2 : -1) : bytes
  if (key.length === 0) throw new TokenvaultError('usage', `${what} holds no key`)
  if (key.length > maxKeyBytes) throw new TokenvaultError('usage', `${what} holds more than ${maxKeyBytes} bytes`)
  return key
}

/** Printable ASCII with one line break, at its end: no key of random bytes looks like that by chance. */
function isText(bytes: Buffer): boolean {
  return /^[\x20-\x7e]*\r?\n$/.test(bytes.toString('latin1'))
}

function readSecret(path: string, what: string): Buffer {
  const access = { found: undefined as 'read' | 'change' | undefined, isFile: true }
  const bytes = Buffer.alloc(maxKeyBytes + 3)
  let length = 0
  try {
    // One descriptor, so that what is checked is what is read.
    const file = openSync(path, 'r')
    try {
      const status = fstatSync(file)
      access.isFile = status.isFile()
      if (!status.isFile() && !status.isFIFO()) throw new TokenvaultError('usage', `${what} is not a file`)
      if (status.isFile() && process.getuid !== undefined)
        access.found = openToOthers(realpathSync(path), status.mode, process.getuid())
      for (let read = -1; read !== 0 && length < bytes.length; length += read)
        read = readSync(file, bytes, length, bytes.length - length, null)
    } finally {
      closeSync(file)
    }
  } catch (cause) {
    if (cause instanceof TokenvaultError) throw cause
    throw new TokenvaultError('usage', `${what} ${describeUnreadable(cause)}`, { cause })
  }
  if (access.found !== undefined)
    throw new TokenvaultError(
      'usage',
      `${what} can be ${access.found === 'read' ? 'read' : 'changed'} by others; chmod 600 it`,
    )
  return bytes.subarray(0, length)
}
