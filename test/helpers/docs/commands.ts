import { pages } from './pages.ts'

/** A fenced block of a page that holds commands. */
export interface CommandBlock {
  readonly page: string
  /** Line of the fence, from 1. */
  readonly line: number
  readonly language: string
  readonly text: string
  /** Why the test does not run it: `<!-- not run here: reason -->` above the block. */
  readonly notRun: string | undefined
  /** `<!-- exits with 3 -->` above the block; 0 unless told. */
  readonly exitCode: number
  /** What it prints: the block without a language, or of JSON, that comes next with nothing between. */
  readonly output: string | undefined
}

/** Languages of blocks that are run or say why not. */
const runnable: ReadonlySet<string> = new Set(['sh', 'sql', 'python', 'ts', 'typescript'])

const fence = /(?:^<!-- ([^\n]*) -->\n\n?)?^```(\S*)\n(.*?)^```$/gms

/** The blocks of a page that hold commands, in order. */
export function commandBlocks(page: string, text: string = pages.get(page)!): CommandBlock[] {
  const found = [...text.matchAll(fence)].map(match => {
    const [whole, marker = '', language, body] = match as unknown as [string, string | undefined, string, string]
    const end = match.index + whole.length
    return { start: match.index, end, marker, language, text: body }
  })
  return found.flatMap(({ start, end, marker, language, text: body }, place) => {
    if (!runnable.has(language)) return []
    const next = found[place + 1]
    const isOutput =
      next !== undefined && ['', 'json'].includes(next.language) && text.slice(end, next.start).trim() === ''
    return {
      page,
      line: text.slice(0, start).split('\n').length,
      language,
      text: body,
      notRun: /^not run here: (\S.*)$/.exec(marker)?.[1],
      exitCode: Number(/^exits with (\d+)$/.exec(marker)?.[1] ?? 0),
      output: isOutput ? next.text : undefined,
    }
  })
}

/** What differs between two runs, and whether one value of a page always stands for one value of a run. */
const volatile: readonly (readonly [kind: string, pattern: RegExp, isName: boolean])[] = [
  ['jwt', /\beyJ[\w-]+\.[\w-]+\.[\w-]+/, false],
  ['port', /127\.0\.0\.1:\d+/, true],
  ['token', /\b[a-z][a-z0-9_]*_v1_[\w-]{22}(?![\w-])/, true],
  ['shortened token', /\b[a-z][a-z0-9_]*_v1_[\w-]+…/, false],
  ['uuid', /\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/, true],
  ['id', /\b[0-9a-f]{32}\b/, true],
  ['time', /\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00)/, false],
  ['day', /\b\d{4}-\d\d-\d\d\b/, false],
  ['verifier key', /\+[0-9a-f]{8}\+[\w+/]+={0,2}/, false],
  ['digest', /(?<=")[\w-]{22}(?=")/, false],
  ['hash or signature', /[A-Za-z0-9+/]{42,}={0,2}/, false],
  [
    'number in the log',
    /(?<="sequence":|sequence |event |with |events {2,}|Retry-After: )\d+|^ *\d+(?= \| \d{4}-)|^\d+(?= +\d{4}-)/,
    false,
  ],
  ['number of variables', /\d+(?= set, )|\d+(?= left at their defaults)/, false],
  ['checkpoints', /\d+(?= in the database)|\d+(?= kept elsewhere)/, false],
]
const anyVolatile = new RegExp(volatile.map(([, pattern], place) => `(?<v${place}>${pattern.source})`).join('|'), 'gm')

interface Taken {
  /** Everything else, with the kinds in the places of what is volatile, and all white space alike. */
  readonly text: string
  readonly values: readonly { readonly value: string; readonly isName: boolean }[]
}

function takeVolatile(line: string): Taken {
  const values: { value: string; isName: boolean }[] = []
  const text = line.replace(anyVolatile, (value, ...rest) => {
    const groups = rest.at(-1) as Record<string, string | undefined>
    const place = volatile.findIndex((_, place) => groups[`v${place}`] !== undefined)
    const [kind, , isName] = volatile[place]!
    values.push({ value, isName })
    return `<${kind}>`
  })
  return { text: text.replace(/[-\s]*\s[-\s]*|-{3,}/g, ' ').trim(), values }
}

/** What values of the pages stand for in this run; grows with every output that is compared. */
export class Glossary {
  readonly #actual = new Map<string, string>()

  /** Puts the values of this run into commands of a page. */
  translate(text: string): string {
    return text.replace(anyVolatile, value => this.#actual.get(value) ?? value)
  }

  /**
   * Compares what a page shows with what was printed, and learns what its values stand for. A line of `…` in the page stands
   * for any number of lines.
   *
   * @returns what differs, or undefined
   */
  compare(shown: string, printed: string): string | undefined {
    const [expected, actual] = [shown, printed].map(text => text.trimEnd().split('\n'))
    const gap = expected!.findIndex(line => line.trim() === '…')
    if (gap < 0) return this.#compareLines(expected!, actual!)
    const tail = expected!.slice(gap + 1)
    return (
      this.#compareLines(expected!.slice(0, gap), actual!.slice(0, gap)) ??
      this.#compareLines(tail, tail.length === 0 ? [] : actual!.slice(-tail.length))
    )
  }

  #compareLines(expected: readonly string[], actual: readonly string[]): string | undefined {
    for (let index = 0; index < Math.max(expected.length, actual.length); index++) {
      const [shown, printed] = [takeVolatile(expected[index] ?? ''), takeVolatile(actual[index] ?? '')]
      if (shown.text !== printed.text) return `shown:   ${expected[index]}\nprinted: ${actual[index]}`
      for (const [place, { value, isName }] of shown.values.entries()) {
        const given = printed.values[place]!.value
        const known = this.#actual.get(value)
        if (isName && known !== undefined && known !== given)
          return `${value} stands for ${known} elsewhere, and here for ${given}: ${expected[index]}`
        if (isName) this.#actual.set(value, given)
      }
    }
    return undefined
  }
}

/** A result as psql prints it, as far as anybody compares. */
export function formatSql(result: { readonly fields: readonly { name: string }[]; readonly rows: readonly object[] }) {
  const text = (value: unknown) => (value instanceof Date ? value.toISOString() : String(value ?? ''))
  const lines = [result.fields.map(({ name }) => name), ...result.rows.map(row => Object.values(row).map(text))]
  const [header, ...rows] = lines.map(cells => cells.join(' | '))
  const count = `(${rows.length} row${rows.length === 1 ? '' : 's'})`
  return [header, result.fields.map(() => '---').join('-+-'), ...rows, count].join('\n')
}
