import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** One way to break a line; each match in a source makes a broken copy of it. */
const breakages: readonly (readonly [RegExp, string])[] = [
  [/!==/g, '==='],
  [/===/g, '!=='],
  [/ < /g, ' >= '],
  [/ < /g, ' <= '],
  [/ > /g, ' <= '],
  [/ > /g, ' >= '],
  [/ >= /g, ' > '],
  [/ <= /g, ' < '],
  [/ \+ 1\b/g, ''],
  [/ - 1\b/g, ''],
  [/ \+ /g, ' - '],
  [/ - /g, ' + '],
  [/ % 2\b/g, ' % 3'],
  [/ && /g, ' || '],
  [/ \|\| /g, ' && '],
  [/\+\+/g, ''],
  [/^ +(?:this\.#|findings\.|await |expected\.|walk\.)[^\n]*\([^\n]*\)$/gm, ''],
  [/^ +if [^\n]*\n? +throw [^\n]*$/gm, ''],
  [/\breturn true\b/g, 'return false'],
  [/\breturn false\b/g, 'return true'],
  [/^ +(?:if [^\n]* )?return$/gm, ''],
  [/^ +if [^\n]* return false$/gm, ''],
  [/\bcontinue\b/g, ''],
  [/\?\?=/g, '='],
  [/\.every\(/g, '.some('],
  [/\.some\(/g, '.every('],
]

/** A source with one line broken. */
export interface Broken {
  /** What was broken, for people. */
  readonly title: string
  /** Imports a module of the sources as it is with the break. */
  load<Module>(name: string): Promise<Module>
}

/**
 * Breaks files of src on purpose, one place at a time: a check that nobody misses is a check that nobody tests.
 *
 * @param options.sources paths below src, such as `vault/verify-audit.ts`; they import one another's broken copies
 * @param options.from by source, the text from which on it is broken; without one all of it is
 * @param options.harmless lines that may be broken without anybody telling the difference
 * @returns the unbroken copy first, which must behave, then every broken one
 */
export function* breakSources(options: {
  readonly folder: string
  readonly sources: readonly string[]
  readonly from?: Readonly<Record<string, string>>
  readonly harmless: readonly RegExp[]
}): Generator<Broken> {
  const { folder, sources, from = {}, harmless } = options
  const texts = new Map(sources.map(path => [path, readFileSync(sourceUrl(path), 'utf8')]))
  let copies = 0
  const write = (title: string, path?: string, text?: string): Broken => {
    const copy = join(folder, String(copies++))
    for (const [name, original] of texts) {
      const to = join(copy, name)
      mkdirSync(join(to, '..'), { recursive: true })
      writeFileSync(to, withAbsoluteImports(name, name === path ? text! : original, sources))
    }
    return { title, load: name => import(pathToFileURL(join(copy, name)).href) }
  }
  yield write('nothing')
  for (const [path, text] of texts) {
    const start = text.indexOf(from[path] ?? '')
    for (const [pattern, replacement] of breakages) {
      for (const match of text.matchAll(pattern)) {
        if (match.index < start) continue
        const line = lineAt(text, match.index)
        // A loop that never ends shows itself, and would end this test too.
        if (/^\s*(\*|\/\/|\/\*|import|for |while )/.test(line) || harmless.some(known => known.test(line))) continue
        const broken = text.slice(0, match.index) + replacement + text.slice(match.index + match[0].length)
        yield write(`${path}: ${line.trim()}  →  ${match[0].trim()} became ${replacement || 'nothing'}`, path, broken)
      }
    }
  }
}

function sourceUrl(path: string): URL {
  return new URL(`../../../src/${path}`, import.meta.url)
}

/** What is not copied is imported from src. */
function withAbsoluteImports(path: string, text: string, sources: readonly string[]): string {
  return text.replace(/'(\.\.?\/[^']+)'/g, (whole, specifier: string) => {
    const target = new URL(specifier, sourceUrl(path))
    return sources.some(own => sourceUrl(own).href === target.href) ? whole : `'${target.href}'`
  })
}

function lineAt(text: string, index: number): string {
  const from = text.lastIndexOf('\n', index) + 1
  // A breakage that takes a whole line matches from its indentation on.
  const to = text.indexOf('\n', Math.max(index, from))
  return text.slice(from, to < 0 ? undefined : to)
}
