import { sql } from 'kysely'
import type { TokenvaultDatabase } from '../postgres/database.ts'
import { type Fact, type FoundFact, readExpectedFacts, readFacts } from './catalog.ts'
import type { SetupFinding } from './findings.ts'

/** One fact that is missing, or that should not be there. */
interface Difference extends Omit<SetupFinding, 'says'> {
  /** What is wrong, in front of what it is wrong with: differences that share it are told in one line. */
  readonly who: string
  readonly item: string
  /** SQL that mends it; absent where a person has to decide. */
  readonly mend?: string
}

const migrateAsOwner = 'run `tokenvault migrate` as the owner of the database, or as a superuser'
const remakeObject = 'make it again by its statement in `migrations/`, or restore the database whole'

/**
 * Looks whether schemas, tables, functions, triggers, owners, grants, default privileges and roles are as the migrations of
 * this release make them. Any role may ask.
 *
 * Of the database, of schema public and of what is ours in it, others may have grants: only what PUBLIC or a role of ours
 * has too much is told.
 *
 * @param options.each a finding for each object, instead of one for those that have the same fault
 */
export async function checkAccess(
  transaction: TokenvaultDatabase,
  options: { readonly each?: boolean } = {},
): Promise<readonly SetupFinding[]> {
  const expected = readExpectedFacts()
  const differences = compare(expected, await readFactsAside(transaction, expected))
  return options.each === true ? differences.flatMap(difference => group([difference])) : group(differences)
}

export interface Mended {
  /** The SQL that was run. */
  readonly statements: readonly string[]
  /** What is still not as it should be. */
  readonly findings: readonly SetupFinding[]
}

/**
 * Gives roles, owners, grants and attributes back, and takes those away that PUBLIC or a role of ours has too much. What a
 * person has to decide stays: an object that is missing, changed or unknown, one that belongs to a stranger, and what a
 * role that is not ours may do in our schemas.
 *
 * @param options.only whether a statement is to be run now; all of them without it
 */
export async function mendAccess(
  transaction: TokenvaultDatabase,
  options: { readonly only?: (statement: string) => boolean } = {},
): Promise<Mended> {
  const { only = () => true } = options
  const expected = readExpectedFacts()
  const before = compare(expected, await readFactsAside(transaction, expected))
  const { rows } = await sql<{ name: string }>`select quote_ident(current_database()) as name`.execute(transaction)
  const statements = before
    .flatMap(({ mend }) => (mend !== undefined && only(mend) ? [mend] : []))
    .map(statement => statement.replace(/ ON DATABASE (?=TO |FROM )/, () => ` ON DATABASE ${rows[0]!.name} `))
    .sort(byOrder)
  const run: string[] = []
  for (const statement of statements) if (await tryStatement(transaction, statement)) run.push(statement)
  const after = run.length === 0 ? before : compare(expected, await readFactsAside(transaction, expected))
  return { statements: run, findings: group(after) }
}

/**
 * Whether the database was restored, or copied, without what is outside of it: roles, their grants on it, their settings.
 * None of that is in a dump of the database, and its first migrations count as applied.
 */
export async function isRestored(transaction: TokenvaultDatabase): Promise<boolean> {
  const roles = readExpectedFacts().flatMap(({ what, on }) => (what === 'role' ? [on] : []))
  const { rows } = await sql<{ is_restored: boolean }>`
    select count(oid) < ${roles.length} or not bool_or(oid in (
      select grantee from pg_database, aclexplode(datacl) where datname = current_database())) as is_restored
    from pg_roles where rolname = any (${roles}::text[])`.execute(transaction)
  return rows[0]!.is_restored
}

/** Makes who migrates able to be tokenvault_owner, and to use what it owns. */
export async function joinOwner(transaction: TokenvaultDatabase): Promise<readonly string[]> {
  const { rows } = await sql<{ may: boolean }>`
    select pg_has_role(current_user, oid, 'set') and pg_has_role(current_user, oid, 'usage') as may
    from pg_roles where rolname = ${owner}`.execute(transaction)
  const join = `GRANT ${owner} TO CURRENT_USER WITH SET TRUE, INHERIT TRUE`
  return rows[0]?.may === false && (await tryStatement(transaction, join)) ? [join] : []
}

/** Reads facts without leaving the settings behind that reading needs. */
async function readFactsAside(
  transaction: TokenvaultDatabase,
  expected: readonly Fact[],
): Promise<readonly FoundFact[]> {
  await sql`savepoint facts`.execute(transaction)
  const found = await readFacts(transaction, expected)
  await sql`rollback to savepoint facts`.execute(transaction)
  return found
}

/** @returns whether it succeeded; a failure is undone, and shows in what is found afterwards */
async function tryStatement(transaction: TokenvaultDatabase, statement: string): Promise<boolean> {
  await sql`savepoint mend`.execute(transaction)
  try {
    await sql.raw(statement).execute(transaction)
    await sql`release savepoint mend`.execute(transaction)
    return true
  } catch {
    // Where the connection is gone this fails too, and says why.
    await sql`rollback to savepoint mend`.execute(transaction)
    return false
  }
}

/** Whoever is to own an object needs the schema first, a grant is given by the owner, and what is reset may be set anew. */
function byOrder(a: string, b: string): number {
  const rank = (statement: string) => {
    if (/ ON (DATABASE|SCHEMA) |^ALTER SCHEMA /.test(statement)) return statement.startsWith('ALTER') ? 1 : 0
    if (/ OWNER TO /.test(statement)) return 2
    return / RESET /.test(statement) ? 3 : 4
  }
  return rank(a) - rank(b)
}

function keyOf({ what, on, is, to }: Fact): string {
  return [what, on, is, to].join('\0')
}

function compare(expected: readonly Fact[], found: readonly FoundFact[]): readonly Difference[] {
  const wanted = new Set(expected.map(keyOf))
  const here = new Set(found.map(keyOf))
  const view: View = {
    expectedObjects: new Map(expected.flatMap(fact => (fact.what === 'object' ? [[fact.on, fact.is]] : []))),
    foundObjects: new Map(found.flatMap(fact => (fact.what === 'object' ? [[fact.on, fact.is]] : []))),
    owners: new Map(found.flatMap(fact => (fact.what === 'owner' ? [[fact.on, fact]] : []))),
    roles: new Map(found.flatMap(fact => (fact.what === 'role' ? [[fact.on, fact.is]] : []))),
    ours: new Set(['PUBLIC', ...expected.flatMap(({ what, on }) => (what === 'role' ? [on] : []))]),
  }
  return [
    ...expected.filter(fact => !here.has(keyOf(fact))).flatMap(fact => describeMissing(fact, view)),
    ...found.filter(fact => !wanted.has(keyOf(fact))).flatMap(fact => describeSurplus(fact, view)),
  ]
}

interface View {
  readonly expectedObjects: ReadonlyMap<string, string>
  readonly foundObjects: ReadonlyMap<string, string>
  readonly owners: ReadonlyMap<string, FoundFact>
  /** LOGIN or NOLOGIN. */
  readonly roles: ReadonlyMap<string, string>
  /** Roles whose grants are for us to give and to take. */
  readonly ours: ReadonlySet<string>
}

function describeMissing(fact: Fact, view: View): Difference[] {
  const { what, on, is, to } = fact
  switch (what) {
    case 'role':
      return [describeRole(on, is, view)]
    case 'object': {
      if (isPartOfMissing(on, view)) return []
      const code = view.foundObjects.has(on) ? 'object_changed' : 'object_missing'
      const who = code === 'object_missing' ? 'missing:' : 'not as this release makes it:'
      return [{ code, status: 'fail', who, item: on, remedy: remakeObject }]
    }
    case 'attribute':
      return isAsMade(on, view) ? [changed(on, is, `ALTER ${on} ${asClause(is)}`)] : []
    case 'owner': {
      const found = view.owners.get(on)
      return found === undefined ? [] : [ownedBy(found, is, view)]
    }
    case 'grant':
      if (isMissing(on, view)) return []
      return [
        {
          code: 'grant_missing',
          status: 'fail',
          who: `${to} lacks`,
          item: `${is} on ${on}`,
          remedy: migrateAsOwner,
          mend: `GRANT ${is} ON ${on} TO ${to}`,
        },
      ]
    default:
      return []
  }
}

function describeSurplus(fact: FoundFact, view: View): Difference[] {
  const { what, on, is, to, isPartition } = fact
  const isPublic = / public\.|^TABLE public\./.test(on)
  switch (what) {
    case 'privileged':
      return [
        {
          code: 'role_privileged',
          status: 'fail',
          who: `role ${on} has`,
          item: is,
          remedy: 'take it away: our roles need nothing but the grants that `tokenvault migrate` gives',
        },
      ]
    case 'object':
      return isPartition || view.expectedObjects.has(on) ? [] : describeUnknown(on, isPublic)
    case 'attribute':
      if (is === 'ROW LEVEL SECURITY')
        return [
          { ...changed(on, is), status: isPublic ? 'warn' : 'fail', remedy: 'rows may be hidden from us: disable it' },
        ]
      return isAsMade(on, view) ? [changed(on, is, `ALTER ${on} ${asReset(is)}`)] : []
    case 'owner':
      return isPartition && !view.expectedObjects.has(on) && is !== owner ? [ownedBy(fact, owner, view)] : []
    case 'lost':
      return view.expectedObjects.has(on) || isPartition ? [lostByOwner(fact, view)] : []
    case 'grant':
      if (on === 'SCHEMA public' && is === 'USAGE') return []
      if (!isPartition && isUnknown(on, view)) return []
      return [surplusGrant(fact, view, `REVOKE ${is} ON ${on} FROM ${to}`)]
    case 'default':
      return [surplusGrant(fact, view, `ALTER DEFAULT PRIVILEGES ${on} REVOKE ${is} FROM ${to}`)]
    default:
      return []
  }
}

/** Owns all that is ours; nobody logs in as it. */
const owner = 'tokenvault_owner'

function describeRole(role: string, login: string, view: View): Difference {
  const found = view.roles.get(role)
  if (found === undefined)
    return { code: 'role_missing', status: 'fail', who: 'missing:', item: `role ${role}`, remedy: migrateAsOwner }
  if (login === 'NOLOGIN')
    return {
      code: 'role_privileged',
      status: 'fail',
      who: 'may log in:',
      item: `role ${role}`,
      remedy: `ALTER ROLE ${role} NOLOGIN`,
    }
  return {
    code: 'role_missing',
    status: 'warn',
    who: 'may not log in:',
    item: `role ${role}`,
    remedy: `if that is not meant: ALTER ROLE ${role} LOGIN`,
  }
}

function describeUnknown(on: string, isPublic: boolean): Difference[] {
  // Columns, indexes and constraints of others take nothing away and give nobody anything.
  if (/^(COLUMN|INDEX|CONSTRAINT) /.test(on)) return []
  const isCode = /^(FUNCTION|TRIGGER|RULE|POLICY) /.test(on)
  return [
    {
      code: 'object_unknown',
      status: isCode && !isPublic ? 'fail' : 'warn',
      who: 'not made by `tokenvault migrate`:',
      item: on,
      remedy: isCode
        ? 'find out who made it, and drop it: it runs where values are guarded'
        : 'keep it in a schema of its own',
    },
  ]
}

function surplusGrant({ on, is, to }: FoundFact, view: View, mend: string): Difference {
  const base = {
    status: 'fail',
    who: `${to} has`,
    item: `${is} ${/^FOR ROLE/.test(on) ? `by default ${on}` : `on ${on}`}`,
  } as const
  if (view.ours.has(to)) return { ...base, code: 'grant_unknown', remedy: migrateAsOwner, mend }
  const remedy =
    'revoke it: nobody but our roles has grants in these schemas; a role for backups can be a member of pg_read_all_data'
  return { ...base, code: 'grant_unknown', remedy }
}

/** Whoever owns it by mistake is given nothing: it goes back to our owner first, or stays as it is. */
function lostByOwner({ on, is, to }: FoundFact, view: View): Difference {
  const base = {
    code: 'grant_missing',
    status: 'fail',
    who: `${to}, the owner, lacks`,
    item: `${is} on ${on}`,
    remedy: migrateAsOwner,
  } as const
  const isOurs = to === owner || ownedBy(view.owners.get(on)!, owner, view).mend !== undefined
  return isOurs ? { ...base, mend: `GRANT ${is} ON ${on} TO ${owner}` } : base
}

function ownedBy(found: FoundFact, wanted: string, view: View): Difference {
  const { on, is } = found
  const base = { code: 'owner_wrong', status: 'fail', who: `${is} owns, instead of ${wanted},`, item: on } as const
  const mend = `ALTER ${on} OWNER TO ${wanted}`
  // What a stranger could have written would run with the owner's rights; a function can be compared, and a view cannot.
  const isSafe = found.isTrusted || (on.startsWith('FUNCTION ') && isAsMade(on, view))
  return isSafe
    ? { ...base, remedy: migrateAsOwner, mend }
    : { ...base, remedy: `find out what ${is} made of it; then, as a superuser: ALTER … OWNER TO ${wanted}` }
}

function changed(on: string, is: string, mend?: string): Difference {
  const base = {
    code: 'object_changed',
    status: 'fail',
    who: 'not as this release makes it:',
    item: `${on}, ${is}`,
  } as const
  return mend === undefined ? { ...base, remedy: remakeObject } : { ...base, remedy: migrateAsOwner, mend }
}

/** Whether it is there, and of a function whether its source is ours. */
function isAsMade(on: string, { expectedObjects, foundObjects }: View): boolean {
  return foundObjects.has(on) && foundObjects.get(on) === expectedObjects.get(on)
}

/** Whether the table, of which it is a column, constraint, index or trigger, is missing too, and told. */
function isPartOfMissing(on: string, { foundObjects }: View): boolean {
  const table = /^COLUMN (\w+\.\w+)\./.exec(on)?.[1] ?? / ON (\w+\.\w+)$/.exec(on)?.[1]
  return table !== undefined && !foundObjects.has(`TABLE ${table}`)
}

const areAlwaysThere = /^(DATABASE$|SCHEMA |TABLE tokenvault_migrations\.)/

function isMissing(on: string, { foundObjects }: View): boolean {
  return !areAlwaysThere.test(on) && !foundObjects.has(on)
}

function isUnknown(on: string, { expectedObjects }: View): boolean {
  return !areAlwaysThere.test(on) && !expectedObjects.has(on)
}

/** `SECURITY DEFINER`, or a setting as ALTER FUNCTION takes it. The values are from catalog.json. */
function asClause(attribute: string): string {
  const setting = /^SET ([^=]+)=(.*)$/.exec(attribute)
  if (setting === null) return attribute
  const [, name, value] = setting
  return name === 'search_path' ? `SET search_path TO ${value}` : `SET ${name} TO '${value!.replaceAll("'", "''")}'`
}

function asReset(attribute: string): string {
  const setting = /^SET ([^=]+)=/.exec(attribute)
  return setting === null ? 'SECURITY INVOKER' : `RESET ${setting[1]}`
}

const itemsShown = 6

function group(differences: readonly Difference[]): readonly SetupFinding[] {
  const groups = new Map<string, { readonly first: Difference; readonly items: string[] }>()
  for (const difference of differences) {
    const key = [difference.code, difference.status, difference.who, difference.remedy].join('\0')
    const known = groups.get(key)
    if (known === undefined) groups.set(key, { first: difference, items: [difference.item] })
    else known.items.push(difference.item)
  }
  return [...groups.values()].map(({ first: { code, status, who, remedy }, items }) => {
    const more = items.length > itemsShown ? [`${items.length - itemsShown} more`] : []
    return { code, status, says: `${who} ${[...items.slice(0, itemsShown), ...more].join('; ')}`, remedy }
  })
}
