import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'

export const root = new URL('../../../', import.meta.url)

export const readText = (path: string): string => readFileSync(new URL(path, root), 'utf8')

/** Every public page, by its path from the root of the repository. */
export const pages: ReadonlyMap<string, string> = new Map(
  [
    ...['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md'],
    ...readdirSync(new URL('docs/', root))
      .filter(name => name.endsWith('.md'))
      .map(name => `docs/${name}`),
  ].map(path => [path, readText(path)]),
)

/** A fenced block of a page. */
export interface Fence {
  readonly page: string
  /** '' for output that a command prints. */
  readonly language: string
  readonly text: string
}

export const fences: readonly Fence[] = [...pages].flatMap(([page, text]) =>
  [...text.matchAll(/^```(\S*)\n(.*?)^```$/gms)].map(([, language, body]) => ({
    page,
    language: language!,
    text: body!,
  })),
)

/** The page as prose: without its fenced blocks. */
export const proseOf = (text: string): string => text.replace(/^```.*?^```$/gms, '')

/** The anchors that GitHub gives the headings of a page. */
export function anchorsOf(text: string): ReadonlySet<string> {
  const anchors = new Set<string>()
  for (const [, heading] of proseOf(text).matchAll(/^#{1,6} (.*)$/gm)) {
    const words = heading!.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    const anchor = words
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-')
    let unique = anchor
    for (let count = 1; anchors.has(unique); count++) unique = `${anchor}-${count}`
    anchors.add(unique)
  }
  return anchors
}

/** A link of a page to something in the repository. */
export interface Link {
  readonly page: string
  /** From the root of the repository; begins with `..` where it leads out of it. */
  readonly path: string
  readonly anchor: string | undefined
}

export function linksOf(page: string, text: string): Link[] {
  return [...proseOf(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target!)
    .filter(target => !/^[a-z]+:/.test(target))
    .map(target => {
      const [path, anchor] = target.split('#') as [string, string | undefined]
      return { page, path: path === '' ? page : posix.join(posix.dirname(page), path), anchor }
    })
}
