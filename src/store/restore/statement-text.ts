/** What decides where a statement ends: quotes of every kind, comments, parentheses, semicolons and words. */
const tokens =
  /--|\/\*|'|"|\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$|[();]|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/g

type Within =
  | { readonly kind: 'plain' }
  /** Until this text stands again. */
  | { readonly kind: 'quote'; readonly end: string; readonly hasEscapes: boolean }
  | { readonly kind: 'comment'; depth: number }

/**
 * Collects lines of SQL into statements, by the rules of psql (psqlscan.l): a semicolon ends one outside of quotes, comments,
 * parentheses and the bodies of functions in standard SQL (BEGIN ATOMIC … END). standard_conforming_strings is on, as pg_dump
 * sets it. Comments between statements are left out.
 */
export class StatementText {
  #text = ''
  #within: Within = { kind: 'plain' }
  #parentheses = 0
  #blocks = 0
  #words: string[] = []
  /** Line where the statement that was given last, or that is being collected, begins. */
  startedAt = 0

  /** Whether nothing of a statement has been read. */
  get isEmpty(): boolean {
    return this.#within.kind === 'plain' && this.#text.trim() === ''
  }

  get length(): number {
    return this.#text.length
  }

  /** @param line with its end. @yields each statement that ends on it, with its semicolon */
  *push(line: string, number: number): Generator<string> {
    let taken = 0
    const keep = (end: number) => {
      const more = line.slice(taken, end)
      if (this.#text === '' && more.trim() !== '') this.startedAt = number
      this.#text = this.#text === '' ? more.trimStart() : this.#text + more
      taken = end
    }
    for (let at = 0; at < line.length; ) {
      const within = this.#within
      if (within.kind !== 'plain') {
        at = within.kind === 'quote' ? this.#skipQuote(line, at, within) : this.#skipComment(line, at, within)
        if (within.kind === 'comment') taken = at
        continue
      }
      tokens.lastIndex = at
      const found = tokens.exec(line)
      if (found === null) break
      const [token] = found
      at = tokens.lastIndex
      if (token === '--') {
        keep(found.index)
        if (this.#text !== '') this.#text += '\n'
        taken = line.length
        break
      }
      if (token === '/*') {
        keep(found.index)
        this.#within = { kind: 'comment', depth: 1 }
        taken = at
      } else if (token === ';' && this.#parentheses <= 0 && this.#blocks === 0) {
        keep(at)
        const statement = this.#text
        this.#reset()
        if (statement !== ';') yield statement
      } else this.#follow(token, line, found.index)
    }
    keep(line.length)
  }

  #follow(token: string, line: string, at: number): void {
    if (token === "'") {
      const hasEscapes = /(^|[^\w$\u0080-\uffff])e$/i.test(line.slice(Math.max(0, at - 2), at))
      this.#within = { kind: 'quote', end: "'", hasEscapes }
    } else if (token === '"' || token.startsWith('$')) this.#within = { kind: 'quote', end: token, hasEscapes: false }
    else if (token === '(') this.#parentheses++
    else if (token === ')') this.#parentheses--
    else if (token !== ';') this.#followWord(token.toLowerCase())
  }

  /** Bodies in standard SQL hold semicolons; CASE, too, ends in END. */
  #followWord(word: string): void {
    if (this.#words.length < 4) this.#words.push(word)
    if (this.#parentheses > 0 || !/^create (or replace )?(function|procedure)\b/.test(this.#words.join(' '))) return
    if (word === 'begin' || (word === 'case' && this.#blocks > 0)) this.#blocks++
    else if (word === 'end' && this.#blocks > 0) this.#blocks--
  }

  /** A doubled quote is the end of one and the start of the next. @returns where to go on */
  #skipQuote(line: string, at: number, { end, hasEscapes }: Within & { kind: 'quote' }): number {
    for (let from = at; ; ) {
      const found = line.indexOf(end, from)
      const escaped = hasEscapes ? line.indexOf('\\', from) : -1
      if (escaped >= 0 && (found < 0 || escaped < found)) {
        from = escaped + 2
        continue
      }
      if (found < 0) return line.length
      // What is doubled in a text with escapes goes on with escapes.
      if (hasEscapes && line[found + 1] === end) {
        from = found + 2
        continue
      }
      this.#within = { kind: 'plain' }
      return found + end.length
    }
  }

  #skipComment(line: string, at: number, within: { depth: number }): number {
    const marks = /\/\*|\*\//g
    marks.lastIndex = at
    for (let found = marks.exec(line); found !== null; found = marks.exec(line)) {
      within.depth += found[0] === '/*' ? 1 : -1
      if (within.depth > 0) continue
      this.#within = { kind: 'plain' }
      return marks.lastIndex
    }
    return line.length
  }

  #reset(): void {
    this.#text = ''
    this.#parentheses = 0
    this.#blocks = 0
    this.#words = []
  }
}
