import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { matchGolden } from '../helpers/golden/golden.ts'
import {
  appearance,
  configVariables,
  createLambdaFunction,
  createVaultDatabase,
  type ErrorCode,
  errorCatalogue,
  reportFailure,
  runInProcess,
  TokenvaultError,
  temporaryDirectory,
} from '../helpers/golden/seams.ts'

t.test('error codes, with the status of a problem over HTTP and the exit code of a command', async t => {
  const codes = Object.keys(errorCatalogue) as ErrorCode[]
  const told = codes.map(code => {
    let text = ''
    const exit = reportFailure(new TokenvaultError(code), written => {
      text += written
    })
    t.ok(text.startsWith(`tokenvault: ${code}: `), `${code} is told by its name`)
    return [code, { http: appearance[code], exit }]
  })
  matchGolden(t, 'error-codes', Object.fromEntries(told))
})

t.test('exit codes of commands', async t => {
  const directory = temporaryDirectory(t)
  const none = join(directory, 'none')
  const jwtFile = join(directory, 'jwt')
  writeFileSync(jwtFile, 'x.y.z')
  const asCaller = ['--url', 'http://127.0.0.1:1', '--jwt-file', jwtFile, '--purpose', 'fraud_investigation']
  const commands = {
    'a version': ['--version'],
    help: ['detokenize', '--help'],
    'a command that is not there': ['nope'],
    'an option that is not there': ['api', '--nope'],
    'no configuration': ['api'],
    'a policy that is not there': ['policy', 'check', none],
    'an API that is not there': ['detokenize', 'x', ...asCaller],
  }
  const exits: Record<string, unknown> = {}
  for (const [name, args] of Object.entries(commands)) exits[name] = (await runInProcess(args)).code
  matchGolden(t, 'exit-codes', exits)
})

t.test('configuration variables: which process reads them, defaults and what they may hold', async t => {
  const byName = new Map<string, { readBy: string[]; schema: string }>()
  for (const [processName, variables] of Object.entries(configVariables)) {
    for (const [name, schema] of Object.entries(variables)) {
      // What it is for may be said in better words.
      const { description: _, ...rest } = JSON.parse(JSON.stringify(schema))
      // Processes read one and the same variable alike.
      const text = JSON.stringify({ ...rest, required: !isOptional(schema) && rest.default === undefined })
      const known = byName.get(name) ?? { readBy: [], schema: text }
      known.readBy.push(processName)
      byName.set(name, known)
      t.equal(text, known.schema, `${name} in ${processName}`)
    }
  }
  const sorted = [...byName].sort(([a], [b]) => (a < b ? -1 : 1))
  const shown = sorted.map(([name, { readBy, schema }]) => [
    name,
    { ...JSON.parse(schema), readBy: readBy.sort().join(' ') },
  ])
  matchGolden(t, 'configuration', Object.fromEntries(shown))
})

/** TypeBox marks an optional property by a member that JSON leaves out. */
function isOptional(schema: object): boolean {
  return Object.getOwnPropertyNames(schema).includes('~optional')
}

t.test('metrics of the Lambda function, which it writes whatever came of an event', async t => {
  const lines: string[] = []
  const { handler } = createLambdaFunction({ AWS_LAMBDA_FUNCTION_NAME: 'logins' }, line => void lines.push(line))
  await t.rejects(handler({ Records: [] }), { code: 'config_invalid' })
  const { _aws: metadata, ...values } = JSON.parse(lines[0]!)
  const [{ Metrics: metrics, ...directive }] = metadata.CloudWatchMetrics
  t.equal(lines.length, 1)
  const named = metrics.map(({ Name, Unit }: { Name: string; Unit: string }) => [Name, Unit])
  matchGolden(t, 'lambda-metrics', { ...directive, metrics: Object.fromEntries(named), members: Object.keys(values) })
})

t.test('database roles, and what each may do with tables and schemas', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  await admin.query('SELECT ingest.ensure_partitions(ARRAY[current_date])')
  const { rows: roles } = await admin.query(
    `SELECT rolname AS name, rolcanlogin AS login, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS mighty,
       rolinherit AS inherits, rolconnlimit AS connections, rolconfig AS settings,
       ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid ORDER BY 1) AS "memberOf"
     FROM pg_roles r WHERE rolname ~ '^tokenvault_' AND rolname <> current_user ORDER BY rolname`,
  )
  const { rows: grants } = await admin.query<{ object: string; grantee: string; verbs: string }>(
    `WITH objects AS (
       SELECT 'schema ' || nspname AS object, nspowner AS owner, coalesce(nspacl, acldefault('n', nspowner)) AS acl
       FROM pg_namespace
       UNION ALL
       SELECT nspname || '.' || relname, relowner, coalesce(relacl, acldefault('r', relowner))
       FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'v')
       UNION ALL
       SELECT nspname || '.' || relname || '.' || attname, relowner, attacl
       FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE attacl IS NOT NULL)
     SELECT object, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee,
       string_agg(privilege_type, ' ' ORDER BY privilege_type) AS verbs
     FROM objects, aclexplode(acl)
     WHERE grantee <> owner AND object !~ '^(schema )?(pg_|information_schema)' AND grantee <> current_user::regrole
     GROUP BY 1, 2 ORDER BY 1, 2`,
  )
  const byObject: Record<string, Record<string, string>> = {}
  for (const { object, grantee, verbs } of grants) byObject[object] = { ...byObject[object], [grantee]: verbs }
  matchGolden(t, 'roles', { roles, grants: byObject })
})
