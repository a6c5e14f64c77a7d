import { randomInt } from 'node:crypto'
import fc from 'fast-check'
import type { Test } from 'tap'

const asked = process.env['FC_SEED']
const seed = asked === undefined ? randomInt(2 ** 31) : Number(asked)
if (!Number.isSafeInteger(seed)) throw new Error('FC_SEED is no integer')

/** Runs a property as one assertion. Its seed is printed, so that a failure can be had again: FC_SEED=… tap FILE. */
export async function checkProperty<Values>(
  t: Pick<Test, 'pass' | 'fail' | 'comment'>,
  title: string,
  property: fc.IProperty<Values> | fc.IAsyncProperty<Values>,
  numRuns = 100,
): Promise<void> {
  t.comment(`FC_SEED=${seed}`)
  const details = await fc.check(property as fc.IAsyncProperty<Values>, { seed, numRuns })
  if (details.failed) t.fail(title, { found: fc.defaultReportMessage(details), cause: String(details.errorInstance) })
  else t.pass(title)
}

/** Arbitrary bytes, often at the borders of AES blocks. */
export function bytesUpTo(maxLength: number): fc.Arbitrary<Uint8Array> {
  return fc.oneof(
    fc.uint8Array({ maxLength }),
    fc.integer({ min: 0, max: Math.floor(maxLength / 16) }).chain(blocks => {
      return fc.uint8Array({ minLength: Math.max(0, blocks * 16 - 1), maxLength: Math.min(maxLength, blocks * 16 + 1) })
    }),
  )
}

const scalarValue = fc.oneof(
  ...[
    [0, 0x7f],
    [0, 0xd7ff],
    [0xe000, 0xffff],
    [0x10000, 0x10ffff],
  ].map(([min, max]) => fc.integer({ min: min!, max: max! })),
)

/** Text with any Unicode scalar values: what UTF-8 can carry. fast-check's own takes a second of every process to set up. */
export function unicodeText(maxLength: number, minLength = 0): fc.Arbitrary<string> {
  return fc.array(scalarValue, { minLength, maxLength }).map(points => String.fromCodePoint(...points))
}

export const aesSivKey: fc.Arbitrary<Uint8Array> = fc.uint8Array({ minLength: 64, maxLength: 64 })
