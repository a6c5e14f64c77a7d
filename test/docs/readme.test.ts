import { readFileSync } from 'node:fs'
import t from 'tap'
import Type, { type TSchema } from 'typebox'
import { configVariables } from '../../src/config/load.ts'

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

t.test('the configuration table holds every variable with its default, and no other', async t => {
  const rows = new Map(
    [...readme.matchAll(/^\| `([A-Z0-9_]+)` \| ([^|]*) \| ([^|]*) \|/gm)].map(([, name, used, fallback]) => [
      name!,
      { used: used!.trim(), fallback: fallback!.trim() },
    ]),
  )
  const expected = new Map<string, { used: string[]; fallback: string }>()
  for (const [processName, variables] of Object.entries(configVariables)) {
    for (const [name, schema] of Object.entries(variables)) {
      const entry = expected.get(name) ?? { used: [], fallback: fallbackOf(schema) }
      entry.used.push(processName)
      expected.set(name, entry)
    }
  }
  t.strictSame([...rows.keys()].sort(), [...expected.keys()].sort())
  for (const [name, { used, fallback }] of expected) {
    t.strictSame(rows.get(name), { used: used.join(', '), fallback }, name)
  }
})

function fallbackOf(schema: TSchema & { default?: unknown }): string {
  if (schema.default !== undefined) return `\`${String(schema.default)}\``
  return Type.IsOptional(schema) ? 'none' : 'required'
}

t.test('every npm script and every file that the README names is there', async t => {
  for (const [, script] of readme.matchAll(/npm run ([a-z]+)/g)) t.ok(script! in manifest.scripts, script!)
  for (const [, path] of readme.matchAll(/\]\(([a-zA-Z][\w./-]*)\)/g)) {
    t.ok(readFileSync(new URL(`../../${path}`, import.meta.url)).length > 0, path!)
  }
})
