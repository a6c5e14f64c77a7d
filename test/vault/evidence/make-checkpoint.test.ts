import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { TokenvaultError } from '../../../src/errors.ts'
import { checkpointName } from '../../../src/publish/sinks.ts'
import { openCheckpoint, signCheckpoint } from '../../../src/tlog/checkpoint.ts'
import { createNoteSigner } from '../../../src/tlog/signed-note.ts'
import { MoodySink, startEvidence } from '../../helpers/evidence/evidence.ts'
import { foldSubtreeRoots } from '../../helpers/evidence/merkle-tree.ts'

t.test('a log that grows is signed, kept and published; one that did not grow is let be', async t => {
  const { startMaker, append, published, kept, reader, verifier } = await startEvidence(t)
  const make = startMaker()
  t.equal(await make(), undefined, 'nothing to sign')
  for (const [count, size] of [
    [1, 1],
    [299, 300],
    [0, 300],
    [5, 305],
  ] as const) {
    if (count > 0) await append(count)
    const made = await make()
    t.equal(made?.treeSize, size)
    const { treeSize, root, logName } = openCheckpoint(made!.note, verifier)
    t.strictSame({ treeSize, logName }, { treeSize: size, logName: 'tokenvault/default' })
    t.strictSame(Buffer.from(root), foldSubtreeRoots((await reader.readHead()).subtreeRoots))
  }
  t.strictSame(
    [...published().keys()].toSorted((a, b) => a - b),
    [1, 300, 305],
  )
  t.strictSame(published(), await kept())
})

t.test('a process that starts refuses a log that contradicts what was published, as the one that ran did', async t => {
  const evidence = await startEvidence(t)
  const { startMaker, publishedBefore: published, append, tamper, admin, kept } = evidence
  const running = startMaker()
  await append(10)
  await running()
  await append(2)
  const { rows } = await admin.query('SELECT tree_size::int AS size, frontier FROM pii_vault.audit_head')
  await append(3)
  await running()
  const files = evidence.published()
  t.strictSame([...files.keys()].toSorted(), [10, 15])

  // A standby that had twelve of the fifteen events takes over.
  await tamper(`DELETE FROM pii_vault.audit_log WHERE sequence >= 12; DELETE FROM pii_vault.checkpoints WHERE tree_size > 10;
    DELETE FROM pii_vault.audit_subtrees`)
  await admin.query('UPDATE pii_vault.audit_head SET tree_size = $1, frontier = $2', [rows[0].size, rows[0].frontier])
  const refusal = { code: 'audit_invalid', message: 'the checkpoint of size 15 was removed or replaced' }
  const started = startMaker({ published })
  for (const more of [0, 3, 20]) {
    if (more > 0) await append(more)
    for (const [name, make] of Object.entries({ running, started, again: startMaker({ published }) }))
      await t.rejects(make(), refusal, `${name}, ${more} more`)
  }
  t.strictSame(evidence.published(), files)
  t.strictSame([...(await kept()).keys()], [10], 'nothing was signed')
})

t.test(
  'a process that starts goes on where the log holds what was published, and publishes nothing blindly',
  async t => {
    const { startMaker, publishedBefore, append, published, directory, kept, keys } = await startEvidence(t)
    const first = startMaker({ published: publishedBefore })
    await append(1)
    await first()
    await append(1)
    t.equal((await startMaker({ published: publishedBefore })())?.treeSize, 2)

    let failure: unknown = new TokenvaultError('checkpoint_unavailable', 'away')
    const away = {
      findNewest: (from: number) => (failure ? Promise.reject(failure) : publishedBefore.findNewest(from)),
    }
    const make = startMaker({ published: away })
    await append(1)
    for (let attempt = 0; attempt < 2; attempt++)
      await t.rejects(make(), { code: 'checkpoint_unavailable', message: 'away' })
    t.strictSame(
      [[...(await kept()).keys()], [...published().keys()].toSorted()],
      [
        [1, 2, 3],
        [1, 2],
      ],
    )
    failure = undefined
    t.equal((await make())?.treeSize, 3)
    t.strictSame([...published().keys()].toSorted(), [1, 2, 3])

    const other = signCheckpoint(keys.signer('another'), { treeSize: 9, root: Buffer.alloc(32) })
    writeFileSync(join(directory, checkpointName(9)), other)
    await append(1)
    await t.rejects(startMaker({ published: publishedBefore })(), {
      code: 'audit_invalid',
      message: /^the newest published note, of size 9, is not a checkpoint of this vault/,
    })
  },
)

t.test('a crash between keeping and publishing loses no checkpoint', async t => {
  const { startMaker, append, published, kept } = await startEvidence(t)
  const dies = { publish: () => Promise.reject(new TokenvaultError('internal', 'killed here')) }
  await append(10)
  await t.rejects(startMaker({ sink: dies })(), { code: 'internal' })
  t.strictSame([...(await kept()).keys()], [10])
  t.equal(published().size, 0)
  await append(7)
  await startMaker()()
  t.strictSame(
    [...published().keys()].toSorted((a, b) => a - b),
    [10, 17],
    'that of before, and that of now',
  )

  await t.rejects(append(1).then(() => startMaker({ sink: dies })()))
  await startMaker()()
  t.strictSame(published(), await kept(), 'also where nothing was appended in between')
})

t.test(
  'a sink that is away keeps nothing from being signed, is asked once a time, and gets the newest when back',
  async t => {
    const { startMaker, append, kept } = await startEvidence(t)
    const sink = new MoodySink()
    const make = startMaker({ sink })
    await append(1)
    await make()
    sink.failure = new TokenvaultError('checkpoint_unavailable')
    for (let n = 0; n < 3; n++) {
      await append(1)
      await t.rejects(make(), { code: 'checkpoint_unavailable' })
    }
    t.equal(sink.asked, 4)
    t.strictSame([...(await kept()).keys()], [1, 2, 3, 4])
    sink.failure = undefined
    await append(1)
    await make()
    t.strictSame(sink.sizes, [1, 4, 5])
  },
)

t.test('replicas that make checkpoints at once, while others append, publish one history', async t => {
  const { startMaker, append, published, kept, reader, verifier } = await startEvidence(t)
  const makers = Array.from({ length: 4 }, () => startMaker())
  let appending = true
  const appends = (async () => {
    for (let n = 0; n < 40; n++) await append(1 + (n % 7))
    appending = false
  })()
  await Promise.all(
    makers.map(async make => {
      while (appending) await make()
      await make()
    }),
  )
  await appends
  const files = published()
  for (const [size, note] of await kept()) t.equal(files.get(size), note)
  const { treeSize } = await reader.readHead()
  t.equal(openCheckpoint(files.get(treeSize)!, verifier).treeSize, treeSize)
})

t.test('a log that was rewritten, cut or forged gets no signature', async t => {
  const attacks: Record<string, { statement: string; message: RegExp; afterRestart?: false }> = {
    'an event is another one': {
      statement: `UPDATE pii_vault.audit_log SET event = 'x', leaf_hash = sha256('\\x00'::bytea || 'x') WHERE sequence = 290`,
      message: /has not grown out/,
    },
    'a kept subtree is another one': {
      statement: `UPDATE pii_vault.audit_subtrees SET root = sha256('x')`,
      message: /has not grown out/,
    },
    'the head is another one': {
      statement: `UPDATE pii_vault.audit_head SET frontier[1] = sha256('x')`,
      message: /has not grown out/,
    },
    'the head does not fit': {
      statement: `UPDATE pii_vault.audit_head SET frontier = frontier || sha256('x')`,
      message: /does not fit its own size/,
    },
    'a row is gone': { statement: 'DELETE FROM pii_vault.audit_log WHERE sequence = 300', message: /are missing/ },
    'the log begins anew': {
      statement: `DELETE FROM pii_vault.audit_log; UPDATE pii_vault.audit_head SET tree_size = 0, frontier = '{}';
        DELETE FROM pii_vault.audit_subtrees`,
      message: /0 events, and a checkpoint of 300/,
    },
    'the newest checkpoint is gone': {
      statement: 'DELETE FROM pii_vault.checkpoints',
      message: /size 300 was removed/,
      // Whoever starts then knows nothing of it: this is what the published ones are for.
      afterRestart: false,
    },
    'the newest checkpoint is of another key': {
      statement: `UPDATE pii_vault.checkpoints SET note = 'FOREIGN'`,
      message: /size 300 was removed or replaced/,
      afterRestart: false,
    },
    'an older checkpoint stands in for the newest': {
      statement: 'UPDATE pii_vault.checkpoints SET tree_size = 301',
      message: /size 300 was removed or replaced/,
      afterRestart: false,
    },
  }
  const { startMaker, append, admin, tamper, published, signer } = await startEvidence(t)
  const foreign = signCheckpoint(createNoteSigner(signer.name, new Uint8Array(32)), {
    treeSize: 300,
    root: new Uint8Array(32),
  })
  await append(300)
  const make = startMaker()
  await make()
  await append(10)
  const tables = ['audit_log', 'audit_head', 'audit_subtrees', 'checkpoints']
  for (const table of tables) await admin.query(`CREATE TABLE saved_${table} AS TABLE pii_vault.${table}`)
  for (const [title, { statement, message, afterRestart = true }] of Object.entries(attacks)) {
    await tamper(statement.replace('FOREIGN', foreign))
    const expected = { code: 'audit_invalid', message }
    await t.rejects(make(), expected, title)
    await t.rejects(make(), expected, `${title}, and still`)
    if (afterRestart) await t.rejects(startMaker()(), expected, `${title}, after a restart`)
    for (const table of tables)
      await tamper(`DELETE FROM pii_vault.${table}; INSERT INTO pii_vault.${table} TABLE saved_${table}`)
  }
  t.strictSame([...published().keys()], [300], 'nothing was signed or published meanwhile')
  t.equal((await make())?.treeSize, 310, 'the log as it was is signed again')
})

t.test('where another history was published under a size, nothing more is signed', async t => {
  const one = await startEvidence(t)
  await one.append(20)
  await one.startMaker()()
  await one.tamper(`UPDATE pii_vault.checkpoints SET note = ''; DELETE FROM pii_vault.checkpoints;
    DELETE FROM pii_vault.audit_log; UPDATE pii_vault.audit_head SET tree_size = 0, frontier = '{}'`)
  await one.append(10)
  await one.admin.query(`SELECT pii_vault.append_audit(array_fill('another'::bytea, ARRAY[10]))`)
  const make = one.startMaker()
  for (let n = 0; n < 3; n++) {
    await t.rejects(make(), { code: 'audit_invalid', message: /another checkpoint of size 20/ })
    await one.append(1)
  }
  await t.rejects(one.startMaker()(), { code: 'audit_invalid' }, 'nor after a restart')
  t.strictSame([...(await one.kept()).keys()], [20])
  t.strictSame([...one.published().keys()], [20])
})
