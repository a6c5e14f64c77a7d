import { TokenvaultError } from '../../errors.ts'

/**
 * Values of standard input, one a line. They come by no argument: the shell's history and every user of the host would see it.
 *
 * @throws TokenvaultError `usage` for input that is not UTF-8, and for none at all
 */
export async function readValues(input: AsyncIterable<Uint8Array> & { readonly isTTY?: boolean }): Promise<string[]> {
  if (input.isTTY) process.stderr.write('Values, one a line; Ctrl-D ends them:\n')
  const chunks: Uint8Array[] = []
  for await (const chunk of input) chunks.push(chunk)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
  } catch {
    // Without the cause, which could quote a value.
    throw new TokenvaultError('usage', 'standard input is not UTF-8')
  }
  const values = text.replace(/\r?\n$/, '').split(/\r?\n/)
  if (text === '') throw new TokenvaultError('usage', 'standard input holds no value; give one a line')
  return values
}
