import { TokenvaultError } from '../../errors.ts'
import { StatementText } from './statement-text.ts'

/** A statement, or the start of rows that go in by the COPY protocol: these are to be read to their end before the next part. */
export interface DumpPart {
  readonly text: string
  /** Of the dump, from 1. */
  readonly line: number
  /** Rows in text format, in pieces of any size. */
  readonly rows?: AsyncIterable<Buffer>
}

/** More than any statement that pg_dump writes but a row of INSERT; rows have no limit. */
const longestStatementBytes = 64 * 1024 * 1024
const longestHeaderLines = 20
const endOfRows = Buffer.from('\n\\.')

/**
 * Splits what pg_dump writes in plain format into statements and rows, as psql does (psqlscan.l), and holds one piece of it in
 * memory at a time. Of the commands of psql, which begin with a backslash, only the two around a dump are passed over: none
 * is ever carried out.
 *
 * @throws TokenvaultError `dump_invalid` with the line, for what pg_dump does not write, and for a dump that was cut short
 */
export async function* splitDump(chunks: AsyncIterable<Buffer>): AsyncGenerator<DumpPart> {
  const input = new Lines(chunks)
  const statement = new StatementText()
  let isDump = false
  let isComplete = false
  for (let line = await input.next(); line !== undefined; line = await input.next()) {
    if (statement.isEmpty) {
      if (/^-- PostgreSQL database dump\s*$/.test(line)) isDump = true
      if (/^-- PostgreSQL database dump complete\s*$/.test(line)) isComplete = true
      if (!isDump && (input.line > longestHeaderLines || /^[^-\s]/.test(line)))
        throw invalid(input.line, 'this is not what pg_dump writes in plain format')
      if (line.startsWith('\\')) {
        checkMetaCommand(line, input.line)
        continue
      }
    }
    for (const text of statement.push(line, input.line)) {
      const part = { text, line: statement.startedAt }
      if (!/^COPY\s[\s\S]*\sFROM\s+stdin\b[^;]*;$/i.test(text)) {
        yield part
        continue
      }
      if (!statement.isEmpty) throw invalid(input.line, 'something stands between COPY and its rows')
      yield { ...part, rows: input.rows() }
    }
    if (statement.length > longestStatementBytes) throw invalid(statement.startedAt, 'a statement is too long')
  }
  if (!statement.isEmpty || !isComplete) throw invalid(input.line, 'the dump ends here, and is not complete')
}

function checkMetaCommand(line: string, number: number): void {
  // psql runs nothing between these two; neither does this.
  if (/^\\(un)?restrict [0-9A-Za-z]+\s*$/.test(line)) return
  const isOther = /^\\c(onnect)?\b/.test(line)
  const why = isOther
    ? 'it goes on in a database that it names: make the dump by pg_dump without --create, not by pg_dumpall'
    : 'a command of psql, which pg_dump does not write'
  throw invalid(number, why)
}

/** @returns TokenvaultError `dump_invalid` */
export function invalid(line: number, why: string): TokenvaultError {
  return new TokenvaultError('dump_invalid', `line ${line}: ${why}`)
}

/** The lines of a stream, and the rows between them. */
class Lines {
  readonly #chunks: AsyncIterator<Buffer>
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  #rest: Buffer = Buffer.alloc(0)
  #isOpen = true
  /** The one that was read last. */
  line = 0

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  async #more(): Promise<boolean> {
    if (!this.#isOpen) return false
    const { value, done } = await this.#chunks.next()
    if (done === true) this.#isOpen = false
    else this.#rest = this.#rest.length === 0 ? value : Buffer.concat([this.#rest, value])
    return this.#isOpen
  }

  /** The next line, with its end; undefined behind the last one. */
  async next(): Promise<string | undefined> {
    const pieces: Buffer[] = []
    let length = 0
    for (;;) {
      const end = this.#rest.indexOf(0x0a)
      const piece = end < 0 ? this.#rest : this.#rest.subarray(0, end + 1)
      pieces.push(piece)
      length += piece.length
      this.#rest = this.#rest.subarray(piece.length)
      if (end >= 0) break
      if (length > longestStatementBytes) throw invalid(this.line + 1, 'the line is too long')
      if (!(await this.#more())) {
        if (length === 0) return undefined
        break
      }
    }
    this.line++
    try {
      return this.#decoder.decode(Buffer.concat(pieces))
    } catch {
      throw invalid(this.line, 'the line is not UTF-8: make the dump with --encoding=UTF8')
    }
  }

  /** Everything up to the line that ends rows. */
  async *rows(): AsyncGenerator<Buffer> {
    while (this.#rest.length < 2 && (await this.#more()));
    // The line of COPY itself ended just before.
    const isNone = this.#rest.subarray(0, 2).equals(endOfRows.subarray(1))
    for (let isOver = isNone; !isOver; ) {
      const end = this.#rest.indexOf(endOfRows)
      isOver = end >= 0
      const piece = this.#rest.subarray(0, isOver ? end + 1 : Math.max(0, this.#rest.length - 2))
      if (piece.length > 0) {
        this.#count(piece)
        this.#rest = this.#rest.subarray(piece.length)
        yield piece
      }
      if (!isOver && !(await this.#more())) throw invalid(this.line, 'the dump ends here, within rows')
    }
    const last = await this.next()
    if (!/^\\\.\r?\n?$/.test(last ?? '')) throw invalid(this.line, 'what ends rows has something behind it')
  }

  #count(piece: Buffer): void {
    for (let at = piece.indexOf(0x0a); at >= 0; at = piece.indexOf(0x0a, at + 1)) this.line++
  }
}
