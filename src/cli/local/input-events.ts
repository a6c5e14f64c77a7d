import { readFile } from 'node:fs/promises'
import { TokenvaultError } from '../../errors.ts'
import { describeUnreadable } from '../terminal/failure.ts'

/** What the embedded queue takes as one message. */
const maxBodyBytes = 1024 * 1024

/**
 * Reads the events of a file, each as the body of one message.
 *
 * @param path a file that holds one JSON array
 * @throws TokenvaultError `input_invalid`
 */
export async function readInputBodies(path: string): Promise<string[]> {
  const file = await readFile(path).catch((error: unknown) => {
    throw new TokenvaultError('input_invalid', `the input file ${describeUnreadable(error)}`)
  })
  const text = attempt('is not UTF-8', () => new TextDecoder('utf-8', { fatal: true }).decode(file))
  const events: unknown = attempt('is not JSON', () => JSON.parse(text))
  if (!Array.isArray(events)) throw new TokenvaultError('input_invalid', 'the input file holds no array')
  return events.map((event, index) => {
    const body = attempt(`nests element ${index} too deep`, () => bodyOf(event))
    if (Buffer.byteLength(body) <= maxBodyBytes) return body
    throw new TokenvaultError(
      'input_invalid',
      `element ${index} of the input file is larger than a message may be, ${maxBodyBytes} bytes`,
    )
  })
}

function attempt<T>(problem: string, run: () => T): T {
  try {
    return run()
  } catch {
    // Without the cause: a parser's message quotes what it was given.
    throw new TokenvaultError('input_invalid', `the input file ${problem}`)
  }
}

/** An event as a message body. The embedded queue refuses surrogates, U+FFFE and U+FFFF, so these are escaped. */
export function bodyOf(event: unknown): string {
  return JSON.stringify(event).replace(/[\ud800-\udfff\ufffe\uffff]/g, unit => `\\u${unit.charCodeAt(0).toString(16)}`)
}
