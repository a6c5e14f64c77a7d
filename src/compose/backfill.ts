import { pause } from '../concurrency/waiting.ts'
import { databaseUrl } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { TokenvaultError } from '../errors.ts'
import { addColumnStatement, findTokenTable, type TokenTable } from '../store/columns/find-table.ts'
import { addTokenColumn, registerColumn } from '../store/columns/registry.ts'
import { countClearValues, createColumnRows, type FillableTable, retrying, whileAlone } from '../store/columns/rows.ts'
import { createDatabase, type TokenvaultDatabase } from '../store/postgres/database.ts'
import type { Field, FieldSchema } from '../vault/fields/fields.ts'
import {
  type Compared,
  compareColumn,
  type Filled,
  type FillOptions,
  fillColumn,
  type StoreValues,
} from '../vault/tokens/fill-column.ts'
import { readFields } from './fields.ts'

/** What a backfill is asked for. */
export interface BackfillRequest {
  readonly table: string
  readonly column: string
  readonly to: string
  readonly key?: readonly string[] | undefined
  readonly field: string
  /** Whether a missing column of tokens is added. */
  readonly createsColumn: boolean
  /** Whether each token is compared with the value beside it at the end. */
  readonly verifies: boolean
  readonly batchRows: number
  readonly rowsPerSecond?: number | undefined
}

/** What a table holds, by rows. */
export interface ColumnState {
  /** Both names, as SQL reads them. */
  readonly table: TokenTable
  readonly total: number
  /** With a token. */
  readonly filled: number
  /** With a value and no token. */
  readonly open: number
}

/** What became of it; kept up to date while it runs, so that it can be told whatever ended it. */
export interface BackfillReport {
  table?: TokenTable
  filled?: Filled
  compared?: Compared
  /** Rows with a value and no token at the end. */
  open?: number
}

/** Scanning the rest of a large table in which every row has its token is one statement. */
const statementTimeoutMilliseconds = 3_600_000

/** Rows beyond which a table is not counted for a progress bar alone. */
const countedRows = 1_000_000

/**
 * Looks at the table and counts; changes nothing.
 *
 * @throws TokenvaultError as backfill
 */
export function planBackfill(config: Config<'backfill'>, request: BackfillRequest): Promise<ColumnState> {
  return withTable(config, request, async ({ database, table }) => {
    if (!isFillable(table)) return { table, ...(await countClearValues(database, table)) }
    return { table, ...(await createColumnRows(database, table).count()) }
  })
}

/**
 * Gives a column of clear values its tokens in another column, and enters that column for reconciliation before the first
 * token stands in it.
 *
 * @param options.report is filled while it runs
 * @param options.onProgress rows that were looked at, of about how many
 * @throws TokenvaultError `table_unsuitable`, `backfill_running`, `field_unknown`, `store_unavailable`, `store_misconfigured`,
 *   `config_invalid`; what storeValues throws
 */
export function backfill(
  config: Config<'backfill'>,
  request: BackfillRequest,
  options: {
    readonly storeValues: StoreValues
    readonly signal: AbortSignal
    readonly report: BackfillReport
    readonly onProgress: (step: 'filled' | 'verified', rows: number, total: number) => void
  },
): Promise<void> {
  const { report, signal, onProgress, storeValues } = options
  return withTable(config, request, ({ database, table: found, field }) =>
    whileAlone(database, found, async () => {
      report.table = found
      const table = await prepareColumn(database, found, field)
      const rows = retrying(createColumnRows(database, table))
      const total = await estimateOpen(table, rows)
      const batchRows = Math.min(request.batchRows, request.rowsPerSecond ?? request.batchRows)
      const pace = createPace(request.rowsPerSecond, signal)
      const shared = { rows, storeValues, field, batchRows, signal, pace }
      const fill: FillOptions = {
        ...shared,
        onProgress(now) {
          report.filled = now
          onProgress('filled', now.filled, total)
        },
      }
      report.filled = await fillColumn(fill)
      if (signal.aborted) return
      const counted = await rows.count()
      report.open = counted.open
      if (!request.verifies) return
      const compared = await compareColumn({
        ...shared,
        onProgress: now => onProgress('verified', now.equal + now.different, counted.filled),
      })
      if (compared !== undefined) report.compared = compared
    }),
  )
}

async function withTable<T>(
  config: Config<'backfill'>,
  request: BackfillRequest,
  work: (found: {
    readonly database: TokenvaultDatabase
    readonly table: TokenTable
    readonly field: Field
  }) => Promise<T>,
): Promise<T> {
  const field = findField(readFields(config), request.field)
  const database = openBackfillDatabase(config)
  try {
    const { table: name, column, to, key } = request
    const table = await findTokenTable(database, { table: name, column, to, key, format: field.format })
    if (!isFillable(table) && !request.createsColumn)
      throw new TokenvaultError(
        'table_unsuitable',
        `${table.name} has no column ${table.tokenName}; add it with --create-column, or: ${addColumnStatement(table)}`,
      )
    return await work({ database, table, field })
  } finally {
    await database.destroy()
  }
}

/** One session holds the lock while the other works. */
export function openBackfillDatabase(config: Config<'backfill'>): TokenvaultDatabase {
  const url = databaseUrl(config)
  return createDatabase({ url, poolMax: 2, applicationName: 'tokenvault backfill', statementTimeoutMilliseconds })
}

function findField(fields: FieldSchema, name: string): Field {
  const field = fields.get(name)
  if (field === undefined)
    throw new TokenvaultError(
      'usage',
      `--field must be one of ${[...fields.keys()].join(', ')}, which FIELDS_FILE names`,
    )
  return field
}

async function prepareColumn(database: TokenvaultDatabase, table: TokenTable, field: Field): Promise<FillableTable> {
  if (!isFillable(table)) await addTokenColumn(database, table)
  await registerColumn(database, table, field.name)
  const type = table.format === 'text' ? 'character varying' : table.format
  return { ...table, token: table.token ?? { name: table.tokenName, type } }
}

function isFillable(table: TokenTable): table is FillableTable {
  return table.token !== undefined
}

async function estimateOpen(table: TokenTable, rows: ReturnType<typeof createColumnRows>): Promise<number> {
  const { estimate = 0 } = table
  return estimate > countedRows ? Math.round(estimate) : (await rows.count()).open
}

/** Waits until so many rows may have been done. */
function createPace(rowsPerSecond: number | undefined, signal: AbortSignal): (rows: number) => Promise<void> {
  if (rowsPerSecond === undefined) return async () => {}
  const startedAtMs = performance.now()
  let done = 0
  return async rows => {
    done += rows
    const waitMs = startedAtMs + (done * 1000) / rowsPerSecond - performance.now()
    if (waitMs > 0) await pause(waitMs, signal)
  }
}
