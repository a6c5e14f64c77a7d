import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { StringDecoder } from 'node:string_decoder'
import type { Client } from 'pg'
import { from, to } from 'pg-copy-streams'

type Value = string | number | boolean | null

/** Rows by column: as many values in each as there are rows. */
export interface Batch {
  readonly rows: number
  readonly columns: readonly (readonly Value[])[]
}

type Parse = (text: string) => Value

/** What numbers and truth are to JavaScript; 64-bit numbers and all other types stay text. */
function parserOf(type: string): Parse {
  if (type === 'integer' || type === 'smallint' || type === 'double precision') return Number
  return type === 'boolean' ? text => text === 't' : text => (text.includes('\\') ? unescapeText(text) : text)
}

const letters: ReadonlyMap<string, string> = new Map(
  Object.entries({ b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }),
)

function unescapeText(text: string): string {
  return text.replace(/\\([\s\S])/g, (_, letter: string) => letters.get(letter) ?? letter)
}

/**
 * Rows of a query by COPY, so many at a time.
 *
 * @param select SQL, which is trusted
 * @param types of its columns, as Postgres writes them
 */
export async function* copyOut(
  client: Client,
  select: string,
  { types, batch }: { readonly types: readonly string[]; readonly batch: number },
): AsyncGenerator<Batch> {
  const parsers = types.map(parserOf)
  const decoder = new StringDecoder('utf8')
  let columns: Value[][] = types.map(() => [])
  let rows = 0
  let rest = ''
  for await (const chunk of client.query(to(`copy (${select}) to stdout`))) {
    const lines = (rest + decoder.write(chunk as Buffer)).split('\n')
    rest = lines.pop()!
    for (const line of lines) {
      const fields = line.split('\t')
      for (let at = 0; at < parsers.length; at++) {
        const field = fields[at]!
        columns[at]!.push(field === '\\N' ? null : parsers[at]!(field))
      }
      if (++rows === batch) {
        yield { rows, columns }
        columns = types.map(() => [])
        rows = 0
      }
    }
  }
  if (rows > 0) yield { rows, columns }
}

/** Rows that become one piece of a COPY. */
const pieceRows = 2_000

/**
 * Puts rows into a table by COPY.
 *
 * @param into statement, as far as `from stdin`
 */
export async function copyIn(client: Client, into: string, batches: AsyncIterable<Batch>): Promise<void> {
  const pieces = async function* () {
    for await (const { rows, columns } of batches)
      for (let start = 0; start < rows; start += pieceRows)
        yield formatRows(columns, start, Math.min(start + pieceRows, rows))
  }
  await pipeline(Readable.from(pieces()), client.query(from(`${into} from stdin`)))
}

function formatRows(columns: Batch['columns'], start: number, end: number): string {
  let text = ''
  for (let row = start; row < end; row++) {
    for (let at = 0; at < columns.length; at++) text += (at === 0 ? '' : '\t') + formatValue(columns[at]![row]!)
    text += '\n'
  }
  return text
}

function formatValue(value: Value): string {
  if (value === null) return '\\N'
  if (typeof value === 'string') return /[\\\n\r\t]/.test(value) ? escapeText(value) : value
  return Object.is(value, -0) ? '-0' : String(value)
}

function escapeText(text: string): string {
  return text.replace(/[\\\n\r\t]/g, letter => {
    if (letter === '\\') return '\\\\'
    return letter === '\n' ? '\\n' : letter === '\r' ? '\\r' : '\\t'
  })
}
