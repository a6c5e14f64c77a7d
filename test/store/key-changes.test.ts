import t from 'tap'
import { createKeyAdministration } from '../../src/store/key-changes.ts'
import { createKeyWriter } from '../../src/store/keys.ts'
import { createResealStore } from '../../src/store/reseal.ts'
import type { KeyName } from '../../src/vault/keys/keyset.ts'
import type { WrappedKey } from '../../src/vault/keys/ports.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'

const key = (version: number, changes: Partial<WrappedKey> = {}): WrappedKey => ({
  ...{ purpose: 'data', field: 'ip', version, status: 'active', kekId: 'kek', wrapped: Buffer.from(`key ${version}`) },
  ...changes,
})
const name = (version: number): KeyName => ({ purpose: 'data', field: 'ip', version })
const changed = { code: 'keys_changed' }

t.test('what was decided before others changed the keys changes nothing', async t => {
  const vault = await createVaultDatabase(t)
  const database = vault.database()
  const keys = createKeyAdministration(database)
  const writer = createKeyWriter(database)
  const events = [] as const
  await database.updateTable('pii_vault.keys').set({ kek_id: 'kek' }).execute()
  const statuses = async () => (await keys.readRecords()).map(({ version, status }) => `${version} ${status}`)

  await t.test('a key that was wrapped before all others were rewrapped is not stored', async t => {
    const before = await statuses()
    const late = { kekId: 'the KEK of before' }
    await t.rejects(keys.apply({ added: [key(2, late)], events }), changed)
    await t.rejects(writer.insertKeys([key(1, { ...late, field: 'new_field' })]), changed)
    t.same(await statuses(), before)
  })

  await t.test('a destruction that was called off and asked for anew waits for its new time', async t => {
    await keys.apply({ added: [key(2)], events })
    const [past, future] = [new Date(Date.now() - 1000), new Date(Date.now() + 86_400_000)]
    const schedule = (after: Date, from: 'active' | 'disabled', unreadable = 0) => {
      const destruction = { after, unreadable }
      return keys.apply({ transitions: [{ ...name(2), from, to: 'disabled', destruction }], events })
    }
    await schedule(past, 'active')
    const due = { ...name(2), from: 'disabled', to: 'destroyed', destruction: { after: past, unreadable: 0 } } as const
    await schedule(future, 'disabled')
    await t.rejects(keys.apply({ transitions: [due], events }), changed)
    await schedule(past, 'disabled', 1)
    await t.rejects(keys.apply({ transitions: [due], events }), changed, 'what may be lost is another number')
    await schedule(past, 'disabled')
    await keys.apply({ transitions: [due], events })
    t.match(
      (await keys.readRecords()).find(({ version }) => version === 2),
      { status: 'destroyed' },
    )
  })

  await t.test('re-sealing ends where its key is the primary one no more', async t => {
    await keys.apply({ added: [key(3)], events })
    const tokenId = 'ab'.repeat(16)
    const original = { tokenId, field: 'ip', tokenKeyVersion: 1, dataKeyVersion: 3, sealed: Buffer.alloc(40) }
    const stored = {
      token_id: tokenId,
      field: 'ip',
      token_key_version: 1,
      data_key_version: 1,
      kept_elsewhere: false,
      sealed: Buffer.alloc(41),
    }
    await database.insertInto('pii_vault.originals').values(stored).execute()
    const store = createResealStore(database)
    await t.rejects(store.replace([original], 1), changed, 'as one that was overtaken by a later rotation')
    t.equal(await keys.countContent(name(1)), 1)
    await keys.apply({
      transitions: [
        { ...name(1), from: 'primary', to: 'active' },
        { ...name(3), from: 'active', to: 'primary' },
      ],
      events,
    })
    t.equal(await store.replace([original], 1), 1)
    t.equal(await store.replace([], 1), 0)
    t.equal(await keys.countContent(name(3)), 1)
  })
})
