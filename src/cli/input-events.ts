import { readFile } from 'node:fs/promises'
import { TokenvaultError } from '../errors.ts'

/**
 * Reads the events of a file, each as the body of one message.
 *
 * @param path a file that holds one JSON array
 * @throws TokenvaultError `input_invalid`
 */
export async function readInputBodies(path: string): Promise<string[]> {
  let events: unknown
  try {
    events = JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? `cannot be read (${String(error.code)})` : 'is not JSON'
    throw new TokenvaultError('input_invalid', `the input file ${code}`)
  }
  if (!Array.isArray(events)) throw new TokenvaultError('input_invalid', 'the input file holds no array')
  return events.map(bodyOf)
}

/** An event as a message body. In ASCII, because the embedded queue refuses characters outside the basic plane. */
export function bodyOf(event: unknown): string {
  return JSON.stringify(event).replace(
    /[\u0080-\uffff]/g,
    unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
