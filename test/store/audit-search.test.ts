import { randomInt } from 'node:crypto'
import t, { type Test } from 'tap'
import { createActionLog } from '../../src/store/action-log.ts'
import { createAuditReader } from '../../src/store/audit-reader.ts'
import { createAuditSearch, type SearchSizes } from '../../src/store/audit-search.ts'
import { type Criteria, meets, parseEvent, parseTimestamp } from '../../src/vault/evidence/criteria.ts'
import { findEvents } from '../../src/vault/evidence/find-events.ts'
import { createChoices } from '../helpers/evidence/audit-mutations.ts'
import { until } from '../helpers/faults/plan.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { commitEvent, makeAction } from '../helpers/vault/actions.ts'

const digestOf = (n: number) => `token-${n}`.padEnd(22, '_')

async function startSearch(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const log = createActionLog(vault.database('tokenvault_api', 1))
  const database = vault.database('tokenvault_api', 2)
  const search = createAuditSearch(database)
  const reader = createAuditReader(vault.database('tokenvault_auditor', 1))
  const name = (...numbers: number[]) => commitEvent(log, makeAction('r', {}, { tokens: numbers.map(digestOf) }))
  const find = async (
    criteria: readonly number[] | Criteria,
    { before, limit = 100 }: { before?: number; limit?: number } = {},
  ) => {
    const sought = Array.isArray(criteria) ? { digests: criteria.map(digestOf) } : (criteria as Criteria)
    const { events } = await findEvents(search, sought, before, limit)
    return events.map(({ sequence }) => sequence)
  }
  const compare = () => reader.snapshot(view => view.compareSearchIndex())
  const append = (events: readonly (object | string)[]) =>
    admin.query('SELECT pii_vault.append_audit($1)', [
      events.map(event => Buffer.from(typeof event === 'string' ? event : JSON.stringify(event))),
    ])
  const indexed = async (): Promise<number> =>
    (await admin.query('SELECT next_sequence::int AS next FROM pii_vault.audit_blocks_head')).rows[0].next
  return { ...vault, admin, log, database, search, name, find, compare, reader, append, indexed }
}

t.test('who ever saw a token is one question, answered newest first', async t => {
  const { name, find, search, reader } = await startSearch(t)
  await name(1, 2)
  await name(2)
  await name(3)
  t.strictSame(await find([2]), [1, 0])
  await name(2, 3, 3)
  t.strictSame(await find([2]), [3, 1, 0], 'also what came after the last search')
  t.strictSame(await find([1, 3]), [3, 2, 0], 'each event once, whichever it names')
  t.strictSame(await find([2], { limit: 2 }), [3, 1])
  t.strictSame(await find([2], { limit: 2, before: 1 }), [0])
  t.strictSame(await find([4]), [])
  t.strictSame(await find([]), [])
  const { events } = await search.findCandidates({ digests: [digestOf(1)] }, { limit: 4 })
  t.same(events.at(-1), await reader.readEvent(0))
})

t.test('any conjunction finds what reading every event finds, whatever the sizes', { timeout: 120_000 }, async t => {
  const { append, database, indexed, compare } = await startSearch(t)
  const seed = Number(process.env['FC_SEED'] ?? randomInt(2 ** 31))
  t.comment(`FC_SEED=${seed}`)
  const { below } = createChoices(seed)
  const among = <T>(values: readonly T[]) => values[below(values.length)]!
  const start = Date.parse('2026-03-01T00:00:00Z')
  const timeOf = (n: number) => new Date(start + n * 60_000)
  /** Mostly in order, as the clocks of several hosts are; now and then far off. */
  const atOf = (n: number) => (below(50) === 0 ? timeOf(below(1_600)) : timeOf(n + below(5))).toISOString()
  const eventOf = (n: number): object | string => {
    if (below(40) === 0)
      return among<object | string>([
        ...['', 'no json', '[]', '"text"', '{"type":7,"at":3,"tokens":"x","fields":[],"actor":"a"}'],
        ...[{ type: 'detokenize', at: '2026-02-30T00:00:00.000Z', subject: ['s1'], fields: { ip: null } }],
        ...[{ type: 'detokenize', at: atOf(n), actor: { subject: 3, issuer: 'i1' }, tokens: [digestOf(1), 7, null] }],
        `{"subject":"s1","subject":"s2","purpose":"nul \\u0000"}`,
      ])
    return {
      type: among(['detokenize', 'tokenize', 'audit_search']),
      at: atOf(n),
      issuer: among(['i1', 'i1', 'i2']),
      subject: `s${Math.min(below(12), below(12))}`,
      ...(below(3) === 0 ? { client: among(['desk', 'ümläut 雪']) } : {}),
      ...(below(4) === 0
        ? { actor: { ...(below(2) === 0 ? { issuer: 'i3' } : {}), subject: among(['a1', 'a2']) } }
        : {}),
      purpose: among(['fraud', 'fraud', 'support', 'audit']),
      ...among([{ decision: 'permitted' }, { decision: 'refused', code: 'budget_exceeded' }]),
      ...(below(4) > 0 ? { fields: { [among(['ip', 'device_id', '__proto__'])]: { requested: 1 } } } : {}),
      // Some are large, and make their block whole before it has 64 events.
      tokens: Array.from({ length: below(60) === 0 ? 9_000 : below(4) }, () => digestOf(below(300))),
      ...(below(2) === 0 ? { ticket: `SEC-${below(80)}` } : {}),
    }
  }
  const stored: Buffer[] = []
  const grow = async (count: number) => {
    const events = Array.from({ length: count }, () => eventOf(stored.length))
    for (const event of events) stored.push(Buffer.from(typeof event === 'string' ? event : JSON.stringify(event)))
    await append(events)
  }
  await grow(1_200)
  const criteriaOf = (): Criteria => {
    const all = {
      digests: Array.from({ length: 1 + below(2) }, () => digestOf(below(310))),
      ...{
        subject: `s${below(13)}`,
        issuer: among(['i1', 'i2', 'i4']),
        client: among(['desk', 'ümläut 雪', 'ümläut']),
      },
      ...{ actor: among(['a1', 'a2', 's1']), actorIssuer: among(['i1', 'i3']), field: among(['ip', '__proto__', 'x']) },
      ...{
        purpose: among(['fraud', 'audit', 'nul \0']),
        ticket: `SEC-${below(80)}`,
        type: among(['tokenize', 'detokenize']),
      },
      ...{ decision: 'refused', code: 'budget_exceeded', from: start + below(1_600) * 60_000 },
    }
    const names = Object.keys(all).filter(() => below(5) === 0)
    const chosen = Object.fromEntries(Object.entries(all).filter(([name]) => names.includes(name)))
    if (below(3) === 0) chosen['to'] = (all.from as number) + below(400) * 60_000
    return chosen as Criteria
  }
  const sizesOf = (): SearchSizes => ({
    windows: Array.from({ length: 1 + below(4) }, () => 1 + below(600)),
    fewBlocks: below(2) === 0 ? 0 : below(40),
  })
  for (let round = 0; round < 120; round++) {
    if (round % 30 === 29) await grow(1 + below(90))
    const [criteria, sizes, limit] = [criteriaOf(), sizesOf(), 1 + below(120)]
    const search = createAuditSearch(database, sizes)
    const start = below(3) === 0 ? below(stored.length + 10) : undefined
    const found: number[] = []
    for (let before = start; ; ) {
      const { events, next } = await findEvents(search, criteria, before, limit)
      if (events.length > limit) t.fail('a page is larger than asked')
      found.push(...events.map(({ sequence }) => sequence))
      if (next === undefined) break
      before = next
    }
    const expected = stored
      .map((event, sequence) => ({ event, sequence }))
      .filter(
        ({ event, sequence }) => sequence < (start ?? Number.POSITIVE_INFINITY) && meets(parseEvent(event), criteria),
      )
      .map(({ sequence }) => sequence)
      .reverse()
    // A text that Postgres cannot read makes the event one without terms: it is found while it is in no block yet.
    const isOdd = (sequence: number) => stored[sequence]!.includes('\\u0000')
    const readable = (sequences: readonly number[]) => sequences.filter(sequence => !isOdd(sequence))
    const why = `${JSON.stringify(criteria)} of ${stored.length}, before ${start}, ${limit} a page, ${JSON.stringify(sizes)}`
    t.strictSame(readable(found), readable(expected), why)
  }
  t.ok((await indexed()) > 1_150)
  t.strictSame(await compare(), { missing: 0, surplus: 0 })
})

t.test('a log of more events than are indexed at once is indexed whole, but for the last few', async t => {
  const { admin, find, compare, search, indexed } = await startSearch(t)
  await admin.query(`SELECT pii_vault.append_audit(array_agg(convert_to(
    format('{"tokens": ["%s", "%s"]}', rpad('token-' || n % 7, 22, '_'), rpad('token-' || 100 + n, 22, '_')), 'UTF8') ORDER BY n))
    FROM generate_series(0, 3499) AS n`)
  t.strictSame(await find([3], { limit: 2 }), [3496, 3489])
  t.strictSame(await find([3599, 100]), [3499, 0])
  t.strictSame(await compare(), { missing: 0, surplus: 0 })
  await search.indexEvents()
  t.equal(await indexed(), 64 * Math.floor(3500 / 64))
})

t.test('a time window has any ends that RFC 3339 can write', async t => {
  const { append, find } = await startSearch(t)
  const times = ['1000-01-01T00:00:00.000Z', '2026-03-01T00:00:00.000Z', '9999-12-31T23:59:59.998Z']
  await append(Array.from({ length: 64 }, (_, n) => ({ type: 'detokenize', at: times[n] })))
  const [first, last] = [
    parseTimestamp('from', '0000-01-01T00:00:00+23:59'),
    parseTimestamp('to', '9999-12-31T23:59:59-23:59'),
  ]
  t.strictSame(await find({ from: first }), [2, 1, 0])
  t.strictSame(await find({ from: parseTimestamp('from', '0000-01-01T00:00:00Z'), to: last }), [2, 1, 0])
  t.strictSame(await find({ to: last }), [2, 1, 0])
  t.strictSame(await find({ to: first }), [])
  t.strictSame(await find({ from: last }), [])
})

t.test('indexing that is stopped ends with the step under way', async t => {
  const { admin, search, connect, indexed } = await startSearch(t)
  await admin.query(`SELECT pii_vault.append_audit(array_fill('{}'::bytea, ARRAY[3500]))`)
  await search.indexEvents(AbortSignal.abort())
  t.equal(await indexed(), 0)
  const gate = await connect()
  await gate.query('BEGIN; SELECT 1 FROM pii_vault.audit_blocks_head FOR UPDATE')
  const stopping = new AbortController()
  const indexing = search.indexEvents(stopping.signal)
  await until('a step waits at the gate', async () => {
    const { rows } = await admin.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%index_audit%'`,
    )
    return rows.length > 0
  })
  stopping.abort()
  await gate.query('COMMIT')
  await indexing
  t.equal(await indexed(), 1024)
})

t.test('searches at once, while actions are committed, leave the index right', async t => {
  const { name, find, compare, indexed } = await startSearch(t)
  await Promise.all(
    Array.from({ length: 140 }, async (_, n) => {
      const { sequence } = await name(n % 5, 100 + n)
      t.strictSame(await find([100 + n]), [sequence], 'an action that was committed is found')
    }),
  )
  t.equal((await find([2])).length, 28)
  t.equal(await indexed(), 128)
  t.strictSame(await compare(), { missing: 0, surplus: 0 })
})

t.test('an event of another shape hides no other', async t => {
  const { admin, append, name, find, compare, indexed } = await startSearch(t)
  const odd = [
    '',
    'no json',
    'null',
    '{"tokens": "text"}',
    '{"tokens": null}',
    `{"tokens": [1, null, {}, [], "short", "${'x'.repeat(3000)}"]}`,
    '{"tokens": ["nul \\u0000"]}',
    '['.repeat(10_000),
    '{"at": "now", "subject": {}, "actor": [], "fields": {"": 1}}',
    '{"at": "infinity"}',
    `{"subject": "${'x'.repeat(1_000_000)}", "actor": {"subject": null, "issuer": "i"}}`,
  ]
  await append(odd)
  // No text at all: the function takes none, so only its owner can store it.
  await admin.query(`INSERT INTO pii_vault.audit_log VALUES (11, '\\xff', sha256('\\x00ff'));
    UPDATE pii_vault.audit_head SET tree_size = 12`)
  const { sequence } = await name(1)
  t.equal(sequence, 12)
  for (const moment of ['while they are in no block', 'and then']) {
    // The one that is not text has a leaf hash that is not its own.
    t.strictSame(await find([1], { limit: 1 }), [12], moment)
    await append(Array.from({ length: 64 }, () => ({ type: 'x' })))
  }
  t.ok((await indexed()) >= 64)
  t.strictSame(await find({ subject: 'x'.repeat(1_000_000) }), [10])
  t.strictSame(await compare(), { missing: 0, surplus: 0 })
})

t.test('an index that was tampered with is found out, and an index that is behind is not', async t => {
  const { admin, append, search, compare } = await startSearch(t)
  await append(
    Array.from({ length: 200 }, (_, n) => ({ subject: `s${n}`, purpose: 'fraud', at: '2026-03-01T00:00:00.000Z' })),
  )
  t.strictSame(await compare(), { missing: 0, surplus: 0 }, 'nothing is indexed yet')
  await search.indexEvents()
  t.strictSame(await compare(), { missing: 0, surplus: 0 })
  const tampering: [statement: string, expected: { missing: number; surplus: number }][] = [
    [`DELETE FROM audit_blocks WHERE first_sequence = 64`, { missing: 1, surplus: 0 }],
    [`DELETE FROM audit_blocks WHERE first_sequence = 128`, { missing: 1, surplus: 0 }],
    [`DELETE FROM audit_blocks`, { missing: 1, surplus: 0 }],
    [`UPDATE audit_blocks SET terms[1] = 7 WHERE first_sequence = 64`, { missing: 1, surplus: 1 }],
    [
      `UPDATE audit_blocks SET terms = terms[2:], places = substr(places, 2) WHERE first_sequence = 0`,
      { missing: 1, surplus: 0 },
    ],
    [
      `UPDATE audit_blocks SET places = set_byte(places, 3, get_byte(places, 4)) WHERE first_sequence = 0`,
      { missing: 1, surplus: 1 },
    ],
    [`UPDATE audit_blocks SET bits[1] = bits[1] & ~5::bigint WHERE first_sequence = 0`, { missing: 2, surplus: 0 }],
    [`UPDATE audit_blocks SET max_at = max_at - interval '1 day' WHERE first_sequence = 0`, { missing: 1, surplus: 0 }],
    [`UPDATE audit_blocks SET min_at = null WHERE first_sequence = 0`, { missing: 1, surplus: 0 }],
    [
      `INSERT INTO audit_blocks SELECT 40, 63, block.* FROM build_audit_block(40, 63) AS block`,
      { missing: 0, surplus: 1 },
    ],
    [`INSERT INTO audit_blocks VALUES (192, 255, null, null, '{}', '', '{}')`, { missing: 17, surplus: 1 }],
    [
      `INSERT INTO audit_blocks VALUES (-9223372036854775808, -9223372036854775808, null, null, '{}', '', '{}')`,
      { missing: 1, surplus: 1 },
    ],
    [
      `INSERT INTO audit_blocks VALUES (9223372036854775000, 9223372036854775000, null, null, '{7}', '\\x00', '{}')`,
      { missing: 1, surplus: 2 },
    ],
    [`UPDATE audit_blocks_head SET next_sequence = 64`, { missing: 0, surplus: 1 }],
    [`UPDATE audit_blocks_head SET next_sequence = 200`, { missing: 1, surplus: 0 }],
  ]
  for (const [statement, expected] of tampering) {
    await admin.query(`CREATE TABLE kept AS TABLE pii_vault.audit_blocks; CREATE TABLE kept_head AS TABLE pii_vault.audit_blocks_head;
      SET search_path = pii_vault; ${statement}; RESET search_path`)
    t.strictSame(await compare(), expected, statement)
    await admin.query(`DELETE FROM pii_vault.audit_blocks; INSERT INTO pii_vault.audit_blocks TABLE kept; DROP TABLE kept;
      UPDATE pii_vault.audit_blocks_head SET next_sequence = kept_head.next_sequence FROM kept_head; DROP TABLE kept_head`)
    t.strictSame(await compare(), { missing: 0, surplus: 0 })
  }
})

t.test('a search of a log whose tail was cut ends', async t => {
  const { admin, name, find } = await startSearch(t)
  for (let n = 0; n < 3; n++) await name(1)
  await admin.query(
    `ALTER TABLE pii_vault.audit_log DISABLE TRIGGER ALL; DELETE FROM pii_vault.audit_log WHERE sequence > 0;
    UPDATE pii_vault.audit_head SET tree_size = 200`,
  )
  t.strictSame(await find([1]), [0])
  t.strictSame(await find({ purpose: 'nothing' }), [])
})
