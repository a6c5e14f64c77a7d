import { TokenvaultError } from '../../errors.ts'

/** Values that one call takes, and what their text may come to: the API takes bodies of 4 MiB. */
export const batchLimits = { values: 10_000, bytes: 3 * 1024 * 1024 } as const

/** More than any value has, and few enough that a file without line breaks fills no memory. */
const longestLineBytes = 1024 * 1024

/** What a value takes in the body of a call: as JSON a control character takes six bytes. */
export function bytesInCall(value: string): number {
  return Buffer.byteLength(JSON.stringify(value)) + 40
}

type Input = AsyncIterable<Uint8Array> & { readonly isTTY?: boolean }

/**
 * Values of standard input, one a line. They come by no argument: the shell's history and every user of the host would see it.
 *
 * @throws TokenvaultError `usage` for input that is not UTF-8, and for none at all
 */
export async function readValues(input: Input): Promise<string[]> {
  const values: string[] = []
  for await (const batch of readValueBatches(input)) values.push(...batch)
  return values
}

/**
 * As readValues, in batches that one call takes, so that an input of any length needs the memory of one.
 *
 * @throws TokenvaultError `usage`
 */
export async function* readValueBatches(input: Input): AsyncGenerator<string[]> {
  if (input.isTTY) process.stderr.write('Values, one a line; Ctrl-D ends them:\n')
  let batch: string[] = []
  let bytes = 0
  let isEmpty = true
  for await (const line of readLines(input)) {
    isEmpty = false
    const size = bytesInCall(line)
    if (batch.length === batchLimits.values || (batch.length > 0 && bytes + size > batchLimits.bytes)) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(line)
    bytes += size
  }
  if (isEmpty) throw new TokenvaultError('usage', 'standard input holds no value; give one a line')
  yield batch
}

/** Lines without their ends; what stands behind the last line break is one if it holds anything. */
async function* readLines(input: Input): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let rest = ''
  const take = (chunk?: Uint8Array): string => {
    try {
      return chunk === undefined ? decoder.decode() : decoder.decode(chunk, { stream: true })
    } catch {
      // Without the cause, which could quote a value.
      throw new TokenvaultError('usage', 'standard input is not UTF-8')
    }
  }
  for await (const chunk of input) {
    const lines = (rest + take(chunk)).split('\n')
    rest = lines.pop()!
    if (rest.length > longestLineBytes)
      throw new TokenvaultError('usage', 'a line of standard input is no value: it is too long')
    for (const line of lines) yield line.replace(/\r$/, '')
  }
  rest += take()
  if (rest !== '') yield rest.replace(/\r$/, '')
}
