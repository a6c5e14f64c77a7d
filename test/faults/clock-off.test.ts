import t from 'tap'
import { startApi, verifyAudit } from '../helpers/faults/api.ts'
import { makeClock, noClock } from '../helpers/faults/clock.ts'
import { inTier, makePlan, seed, until } from '../helpers/faults/plan.ts'
import { startPostgresServer } from '../helpers/faults/postgres-server.ts'
import { createFaultWorld, scenario } from '../helpers/faults/world.ts'

/** Messages of today are out of range for a database that believes it is so many days earlier (less than 0) or later. */
const offsets = inTier({ short: [-9], long: [-9, 40, -3, -400, 3_650, -9, 40] })

t.test(
  `a database whose clock is ${offsets.join(', ')} days off, FAULT_SEED=${seed}`,
  { ...scenario, skip: noClock },
  async t => {
    const clock = makeClock(t)
    const { database } = await startPostgresServer(t, { changes: clock.changes })
    const world = await createFaultWorld(t, { plan: makePlan(), database })
    const environment = {
      WORKER_BATCH_MESSAGES: '20',
      WORKER_BATCH_MILLISECONDS: '20',
      // What the long poll of an ended worker still took comes after this time only.
      WORKER_VISIBILITY_TIMEOUT_SECONDS: inTier({ short: '60', long: '20' }),
      LOG_LEVEL: 'warn',
    }
    const readDaysOff = async () => {
      const { rows } = await world.admin.query(
        "SELECT extract(epoch FROM clock_timestamp())::float8 AS now, current_date - (to_timestamp($1) AT TIME ZONE 'UTC')::date AS days",
        [Date.now() / 1000],
      )
      t.equal(Math.round((rows[0].now * 1000 - Date.now()) / 86_400_000), rows[0].days, 'dates and times agree')
      return rows[0].days as number
    }
    const api = await startApi(t, database)

    let token: string | undefined
    for (const days of offsets) {
      clock.setDays(days)
      t.equal(await readDaysOff(), days, 'the database itself believes it')
      // A worker that has never met this day: one that has keeps storing.
      const worker = world.start(environment)
      const stored = await world.receipts()
      await world.sendLogins(100)
      await world.sendPoison(2)
      const complaints = () =>
        worker.output().match(/"event":"batch_not_stored".*the clocks of the database and of this host differ by days/g)
      await until(`the worker says twice what is wrong, at ${days} days`, () => (complaints()?.length ?? 0) >= 2)
      t.equal(await world.receipts(), stored, 'nothing is stored under a day that nobody knows')
      t.match(worker.output(), /"code":"store_unavailable"/)
      if (token !== undefined) t.ok(await api.detokenize(token), 'values are given all the same')

      clock.setDays(0)
      await until(`everything took effect after ${days} days`, () => world.isDone())
      t.notMatch(worker.output(), /messages_unstorable/, 'no message was blamed')
      token ??= (await world.admin.query('SELECT masked_ip AS token FROM public.user_logins LIMIT 1')).rows[0].token
      t.ok(await api.detokenize(token!), 'and when the clock is right again')
      t.equal((await worker.end('SIGTERM')).code, 0, 'the worker needed no restart')
    }
    t.equal(
      world.queue.deliveries.total,
      world.queue.sent.size,
      'no message was received twice: no receive count was spent',
    )
    t.equal((await api.end()).code, 0)
    await world.checkTruth(t)
    const { code, result } = await verifyAudit(t, database, api.published)
    t.equal(code, 0, 'the audit log is intact')
    t.ok(result.events > Math.max(...api.calls.sequences), 'the event of each value that was given is in it')
  },
)
