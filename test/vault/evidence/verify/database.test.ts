import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import t, { type Test } from 'tap'
import { createAuditReader } from '../../../../src/store/audit-reader.ts'
import { openCheckpoint, signCheckpoint } from '../../../../src/tlog/checkpoint.ts'
import { foldRoots } from '../../../../src/tlog/merkle.ts'
import { checkProof } from '../../../../src/tlog/proof.ts'
import { createNoteSigner, createNoteVerifier } from '../../../../src/tlog/signed-note.ts'
import { createProver } from '../../../../src/vault/evidence/prove.ts'
import { verifyAudit } from '../../../../src/vault/evidence/verify/verify.ts'
import { createVaultDatabase } from '../../../helpers/postgres/vault-database.ts'

const signer = createNoteSigner('tokenvault/test', randomBytes(32))
const verifier = createNoteVerifier(signer.verifierKey)

/** More than two subtrees of 256. */
const size = 600
const tables = ['audit_log', 'audit_head', 'audit_subtrees', 'audit_blocks', 'audit_blocks_head', 'checkpoints']

function eventOf(sequence: number): Buffer {
  const tokens = sequence % 2 === 0 ? [`AAAAAAAAAAAAAAAAAA${String(sequence % 50).padStart(4, '0')}`] : []
  return Buffer.from(JSON.stringify({ type: 'detokenize', subject: `s-${sequence}`, tokens }))
}

/** A log of events with checkpoints of it, written as the API writes, and read as an auditor reads. */
async function startLog(t: Test) {
  const vault = await createVaultDatabase(t)
  const api = await vault.connect('tokenvault_api')
  const admin = await vault.connect()
  const reader = createAuditReader(vault.database('tokenvault_auditor', 1))
  const notes: string[] = []
  for (let from = 0; from < size; from += 150) {
    const events = Array.from({ length: 150 }, (_, n) => eventOf(from + n))
    await api.query('SELECT pii_vault.append_audit($1)', [events])
    const { treeSize, subtreeRoots } = await reader.readHead()
    const note = signCheckpoint(signer, { treeSize, root: foldRoots(subtreeRoots) })
    await api.query('SELECT pii_vault.insert_checkpoint($1, $2)', [treeSize, note])
    notes.push(note)
  }
  await api.query('SELECT pii_vault.index_audit(100000)')
  return { admin, reader, notes, other: createAuditReader(vault.database('tokenvault_api', 1)) }
}

/** What the owner of the tables does once the triggers are out of its way. */
const changes: Readonly<Record<string, string>> = {
  'an event edited': `UPDATE audit_log SET event = convert_to('{"type":"nothing"}', 'UTF8') WHERE sequence = 7`,
  'an event edited, its leaf hash too': `UPDATE audit_log
    SET event = '\\x7b7d', leaf_hash = sha256('\\x00'::bytea || '\\x7b7d') WHERE sequence = 7`,
  'one bit of an event': 'UPDATE audit_log SET event = set_bit(event, 3, 1 - get_bit(event, 3)) WHERE sequence = 599',
  'a leaf hash': `UPDATE audit_log SET leaf_hash = sha256('x') WHERE sequence = 300`,
  'the first event deleted': 'DELETE FROM audit_log WHERE sequence = 0',
  'an event deleted': 'DELETE FROM audit_log WHERE sequence = 255',
  'the last event deleted': 'DELETE FROM audit_log WHERE sequence = 599',
  'a range deleted': 'DELETE FROM audit_log WHERE sequence BETWEEN 256 AND 511',
  'the tail cut': 'DELETE FROM audit_log WHERE sequence >= 450',
  'everything deleted': 'DELETE FROM audit_log',
  'two events exchanged':
    'UPDATE audit_log SET sequence = CASE sequence WHEN 3 THEN -5 ELSE 3 END WHERE sequence IN (3, 400); UPDATE audit_log SET sequence = 400 WHERE sequence = -5',
  'a range reversed':
    'UPDATE audit_log SET sequence = -1000 - sequence WHERE sequence BETWEEN 10 AND 19; UPDATE audit_log SET sequence = 1029 + sequence WHERE sequence < -1000',
  'an event copied over another': `UPDATE audit_log SET (event, leaf_hash) =
    (SELECT event, leaf_hash FROM audit_log WHERE sequence = 3) WHERE sequence = 9`,
  'an event put in between': `UPDATE audit_log SET sequence = sequence + 10000 WHERE sequence >= 100;
    UPDATE audit_log SET sequence = sequence - 9999 WHERE sequence >= 10000;
    INSERT INTO audit_log VALUES (100, '\\x7b7d', sha256('\\x00'::bytea || '\\x7b7d'))`,
  'one name taken out everywhere': `UPDATE audit_log SET event = convert_to(replace(convert_from(event, 'UTF8'), 's-42', 's-1'), 'UTF8')`,
  'an event that is no text': `UPDATE audit_log SET event = '\\xff' WHERE sequence = 8`,
}

/** What gives the events away that were not changed themselves; somebody who hides an edit makes all of it anew. */
const hidden = `
  CREATE TEMP TABLE rewritten AS SELECT event FROM audit_log ORDER BY sequence;
  DELETE FROM audit_log; DELETE FROM audit_subtrees; DELETE FROM checkpoints; DELETE FROM audit_blocks;
  UPDATE audit_head SET tree_size = 0, frontier = '{}';
  UPDATE audit_blocks_head SET next_sequence = 0;
  SELECT pii_vault.append_audit((SELECT coalesce(array_agg(event), '{}') FROM rewritten));
  SELECT pii_vault.index_audit(100000);
  DROP TABLE rewritten`

/** Changes of what follows from the events; there is no hiding them, for making it anew mends them. */
const derivedChanges: Readonly<Record<string, string>> = {
  'the head set back': 'UPDATE audit_head SET tree_size = 512, frontier = frontier[1:1]',
  'the head set forward': 'UPDATE audit_head SET tree_size = 601',
  'the head’s roots': `UPDATE audit_head SET frontier[2] = sha256('x')`,
  'no head': 'DELETE FROM audit_head',
  'a subtree root': `UPDATE audit_subtrees SET root = sha256('x') WHERE index = 1`,
  'a subtree root far ahead of the tree': `INSERT INTO audit_subtrees VALUES (8, 1000, sha256('x'))`,
  'a subtree root at the end of all': `INSERT INTO audit_subtrees VALUES (32, 9223372036854775807, sha256('x'))`,
  'a subtree root before the first': `INSERT INTO audit_subtrees VALUES (16, -1, sha256('x'))`,
  'subtree roots deleted': 'DELETE FROM audit_subtrees',
  'a checkpoint moved': 'UPDATE checkpoints SET tree_size = 149 WHERE tree_size = 150',
  'a checkpoint rewritten': `UPDATE checkpoints SET note = replace(note, '150', '151')`,
  'the search index emptied': 'DELETE FROM audit_blocks',
  'an entry of the search index added': `UPDATE audit_blocks SET terms = 7 || terms, places = '\\x01' || places`,
  'an event behind the end': `INSERT INTO audit_log VALUES (600, '\\x7b7d', sha256('\\x00'::bytea || '\\x7b7d'))`,
}

t.test('whatever the owner of the database changes is found', async t => {
  const { admin, reader, notes } = await startLog(t)
  const external = [{ source: 'kept', note: notes.at(-1)! }]
  const verify = () => reader.snapshot(view => verifyAudit(view, { verifier, external }))
  const before = await verify()
  t.match(before, { isIntact: true, events: size, checkpoints: { stored: 4, external: 1 } })
  await admin.query(
    `DO $$ BEGIN EXECUTE format('GRANT TEMP ON DATABASE %I TO tokenvault_owner', current_database()); END $$`,
  )
  await admin.query('SET ROLE tokenvault_owner; SET search_path = pii_vault, public')
  await dropTriggers(admin)
  await admin.query(tables.map(table => `CREATE TEMP TABLE kept_${table} AS TABLE ${table}`).join('; '))
  const restore = () =>
    admin.query(
      tables.map(table => `DELETE FROM ${table}; INSERT INTO ${table} SELECT * FROM kept_${table}`).join('; '),
    )
  const attacks = [
    ...Object.entries({ ...changes, ...derivedChanges }),
    // A text that is none cannot be appended anew, and of a bare leaf hash nothing is left.
    ...Object.entries(changes)
      .filter(([title]) => !['an event that is no text', 'a leaf hash', 'one bit of an event'].includes(title))
      .map(([title, change]) => [`${title}, and everything made anew`, `${change}; ${hidden}`] as const),
  ]
  for (const [title, change] of attacks) {
    await admin.query(change)
    const { isIntact, findings } = await verify()
    t.notOk(isIntact, `${title}: ${findings.map(({ code }) => code).join(', ')}`)
    await restore()
    if (!(await verify()).isIntact) t.fail(`not restored after: ${title}`)
  }
  t.ok(attacks.length >= 30, `${attacks.length} attacks`)
})

async function dropTriggers(admin: pg.Client): Promise<void> {
  const { rows } = await admin.query(
    `SELECT tgrelid::regclass AS table, tgname AS name FROM pg_trigger
    WHERE NOT tgisinternal AND tgrelid::regclass::text = ANY ($1)`,
    [tables],
  )
  for (const { table, name } of rows) await admin.query(`DROP TRIGGER ${name} ON ${table}`)
}

t.test('the auditor proves any event of the real log, and how checkpoints follow from each other', async t => {
  const { reader, notes } = await startLog(t)
  const prover = createProver(reader, verifier)
  for (const sequence of [0, 149, 150, 255, 256, 511, 512, 599]) {
    const proof = await prover.proveInclusion(sequence)
    t.match(checkProof(proof, verifier), {
      sequence,
      event: eventOf(sequence).toString(),
      checkpoint: { treeSize: 600 },
    })
  }
  t.match(checkProof(await prover.proveInclusion(3, 150), verifier), {
    checkpoint: openCheckpoint(notes[0]!, verifier),
  })
  t.match(checkProof(await prover.proveConsistency(150), verifier), { from: { treeSize: 150 }, to: { treeSize: 600 } })
  await t.rejects(prover.proveInclusion(600), { code: 'audit_event_unknown' })
})

t.test('a log that grows while it is verified is intact', async t => {
  const { admin, reader, other } = await startLog(t)
  let appended = 0
  let isVerifying = true
  const growing = (async () => {
    while (isVerifying) {
      await admin.query('SELECT pii_vault.append_audit($1)', [[eventOf(size + appended++)]])
      if (appended % 3 === 0) await admin.query('SELECT pii_vault.index_audit(2)')
      const { treeSize, subtreeRoots } = await other.readHead()
      const note = signCheckpoint(signer, { treeSize, root: foldRoots(subtreeRoots) })
      await admin.query('SELECT pii_vault.insert_checkpoint($1, $2)', [treeSize, note])
    }
  })()
  const sizes = new Set<number>()
  while (sizes.size < 4) {
    const { isIntact, events, findings } = await reader.snapshot(view => verifyAudit(view, { verifier }))
    if (!isIntact) t.fail(`at ${events} events`, { found: findings })
    sizes.add(events)
  }
  isVerifying = false
  await growing
  t.ok(appended > 3, `${appended} events came meanwhile`)
})
