import t from 'tap'
import { startEvidenceApp } from '../../helpers/http/evidence-app.ts'

const purpose = 'internal_audit'

/** Events of a morning, ten minutes apart, and who they are of. */
const events = [
  { subject: 'casey', type: 'detokenize', purpose: 'fraud_investigation', ticket: 'SEC-1', fields: { ip: {} } },
  { subject: 'casey', type: 'tokenize', purpose: 'fraud_investigation', client: 'desk', fields: { device_id: {} } },
  { subject: 'kim', type: 'detokenize', purpose: 'customer_support', ticket: 'SEC-1', actor: { subject: 'bot' } },
  { subject: 'casey', issuer: 'https://other.test', type: 'detokenize', purpose: 'fraud_investigation' },
  { subject: 'kim', type: 'approval_list', purpose: '', actor: { subject: 'bot', issuer: 'https://other.test' } },
  { subject: 'ümit 雪', type: 'detokenize', purpose: 'customer_support', decision: 'refused', code: 'budget_exceeded' },
].map((event, n) => ({
  ...{ issuer: 'https://issuer.test', decision: 'permitted', at: `2026-03-01T08:${n}0:00.000Z` },
  ...event,
}))

t.test('events are found by who, by what, for what and when, in any combination', async t => {
  const { call, admin } = await startEvidenceApp(t)
  await admin.query('SELECT pii_vault.append_audit($1)', [events.map(event => Buffer.from(JSON.stringify(event)))])
  const find = async (where: object) => {
    const { status, json } = await call('/search', {
      body: { purpose, where: { to: '2026-03-02T00:00:00Z', ...where } },
    })
    t.equal(status, 200, JSON.stringify(where))
    return json.events.map(({ sequence }: { sequence: number }) => sequence)
  }
  const expected: [where: object, sequences: number[]][] = [
    [{}, [5, 4, 3, 2, 1, 0]],
    [{ subject: 'casey' }, [3, 1, 0]],
    [{ subject: 'casey', issuer: 'https://issuer.test' }, [1, 0]],
    [{ subject: 'ümit 雪' }, [5]],
    [{ issuer: 'https://other.test' }, [3]],
    [{ actor: 'bot' }, [4, 2]],
    [{ actor: 'bot', actorIssuer: 'https://issuer.test' }, [2]],
    [{ actorIssuer: 'https://other.test' }, [4]],
    [{ client: 'desk' }, [1]],
    [{ field: 'ip' }, [0]],
    [{ field: 'device_id', subject: 'casey', type: 'tokenize' }, [1]],
    [{ purpose: 'customer_support' }, [5, 2]],
    [{ purpose: 'customer_support', ticket: 'SEC-1' }, [2]],
    [{ ticket: 'SEC-1' }, [2, 0]],
    [{ type: 'approval_list' }, [4]],
    [{ decision: 'refused' }, [5]],
    [{ code: 'budget_exceeded', decision: 'permitted' }, []],
    [{ from: '2026-03-01T08:20:00Z', to: '2026-03-01T08:40:00Z' }, [3, 2]],
    [{ from: '2026-03-01T09:20:00+01:00', to: '2026-03-01t03:10:00.001-05:30' }, [4, 3, 2]],
    [{ subject: 'casey', to: '2026-03-01T08:30:00.000Z' }, [1, 0]],
    [{ subject: 'nobody' }, []],
  ]
  for (const [where, sequences] of expected) t.strictSame(await find(where), sequences, JSON.stringify(where))
  // The same once the events stand in a block of the index.
  await admin.query('SELECT pii_vault.append_audit($1)', [
    Array(64).fill(Buffer.from('{"at":"2026-04-01T00:00:00.000Z"}')),
  ])
  for (const [where, sequences] of expected) t.strictSame(await find(where), sequences, JSON.stringify(where))
  const { rows } = await admin.query('SELECT next_sequence::int AS next FROM pii_vault.audit_blocks_head')
  t.ok(rows[0].next >= 64)
})

t.test(
  'a search is an event that says what it was for, and what could be a value only where the log has it',
  async t => {
    const { call, admin, app } = await startEvidenceApp(t)
    await admin.query('SELECT pii_vault.append_audit($1)', [events.map(event => Buffer.from(JSON.stringify(event)))])
    const soughtBy = async (where: object) => {
      await call('/search', { body: { purpose, where } })
      const { json } = await call('/search', { body: { purpose, where: { type: 'audit_search' }, limit: 1 } })
      return json.events[0].sought
    }
    const canary = 'canary 203.0.113.99'
    t.strictSame(await soughtBy({ subject: 'kim', actor: 'bot' }), { subject: 'kim', actor: 'bot' })
    t.strictSame(await soughtBy({ subject: 'kim', actor: canary }), { subject: true, actor: true })
    for (const name of ['subject', 'issuer', 'actor', 'actorIssuer', 'client', 'field'])
      t.strictSame(await soughtBy({ [name]: canary }), { [name]: true })
    t.strictSame(await soughtBy({ field: 'ip', value: '203.0.113.99' }), { value: true, field: 'ip' })
    t.strictSame(await soughtBy({ token: 'ip_v1_8mJXb0vZ2m1n0kq3TnXo1Q' }), { token: true })
    const closed = {
      purpose: 'fraud_investigation',
      ticket: 'SEC-9',
      type: 'tokenize',
      decision: 'refused',
      code: 'batch_empty',
    }
    t.strictSame(await soughtBy(closed), closed)
    t.strictSame(
      await soughtBy({ from: '2026-03-01T09:00:00+01:00', to: '2026-03-01T10:00:00+01:00', client: 'desk' }),
      {
        ...{ client: 'desk', from: '2026-03-01T08:00:00.000Z', to: '2026-03-01T09:00:00.000Z' },
      },
    )
    const { rows } = await admin.query(
      `SELECT string_agg(convert_from(event, 'UTF8'), ' ') AS text FROM pii_vault.audit_log`,
    )
    for (const text of [rows[0].text, app.logged()]) t.notMatch(text, /canary|203\.0\.113\.99/)
  },
)
