import { readFileSync } from 'node:fs'
import t from 'tap'
import Type, { type TSchema } from 'typebox'
import { configVariables } from '../../src/config/load.ts'

const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')

t.test('the configuration table holds every variable with its default, and no other', async t => {
  const rows = new Map(
    [...page.matchAll(/^\| `([A-Z0-9_]+)` \| ([^|]*) \| ([^|]*) \|/gm)].map(([, name, used, fallback]) => [
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
