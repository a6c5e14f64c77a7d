import { TokenvaultError } from '../../errors.ts'
import { createAuditReader } from '../../store/audit-reader.ts'
import type { TokenvaultDatabase } from '../../store/postgres/database.ts'
import { openCheckpoint } from '../../tlog/checkpoint.ts'
import type { LogKeys } from '../../tlog/key-history.ts'
import { createLogSigner } from '../../vault/admission/log-signer.ts'
import { checkGrown, rootOf } from '../../vault/evidence/make-checkpoint.ts'
import type { PublishedCheckpoints } from '../../vault/evidence/ports.ts'
import { composeSink } from '../evidence.ts'
import { logName } from '../vault.ts'
import { type Check, type Finding, fail, ok, skip, warn } from './findings.ts'
import { openKeys } from './keys.ts'
import { type Subject, whenConnected } from './subjects.ts'

/** Checkpoints in the database that are looked for outside of it, newest first. */
const looked = 100

/** How many of the newest may be on their way: one is made, and one is being published. */
const underWay = 2

/** The newest checkpoint that is kept outside the database: it is there, and the log has grown out of it. */
export function checkCheckpoints(subject: Subject): Check {
  const { config, environment } = subject
  return {
    name: 'published checkpoints',
    run: () =>
      whenConnected(subject, async ({ database }) => {
        const { TENANT: tenant, CHECKPOINT_URL: url } = config
        if (url === undefined && subject.isGiven('CHECKPOINT_URL')) return [skip('CHECKPOINT_URL is wrong')]
        if (url === undefined) return [notPublished]
        const keys = await openKeys(subject, database).catch(() => undefined)
        if (keys === undefined || tenant === undefined) return [skip('the keys cannot be opened')]
        const sink = (await composeSink(config, environment))!
        subject.defer(() => sink.close())
        if (sink.published === undefined) return [skip('what goes to standard output cannot be read back here')]
        const signer = createLogSigner(keys, logName({ ...config, TENANT: tenant }), createAuditReader(database))
        return compare(database, sink.published, await signer.readVerifier())
      }),
  }
}

const notPublished = warn(
  'checkpoints stay in the database, whose administrators could rewrite them together with the log',
  'Set CHECKPOINT_URL to a place that they cannot change.',
)

async function compare(
  database: TokenvaultDatabase,
  published: PublishedCheckpoints,
  verifier: LogKeys,
): Promise<Finding[]> {
  const reader = createAuditReader(database)
  const stored = await reader.listCheckpoints({ limit: looked })
  const newest = await published.findNewest(stored.at(-1)?.treeSize ?? 0)
  if (newest === undefined) {
    if (stored.length === 0) return [ok('no checkpoint was made yet, and none is published')]
    if (stored.length <= underWay) return [ok('the first checkpoint is not published yet')]
    return [
      fail(
        `none of the newest ${stored.length} checkpoints is published`,
        'Correct CHECKPOINT_URL, and look in the log of the API for checkpoint_failed.',
      ),
    ]
  }
  const head = await reader.readHead()
  try {
    const checkpoint = openCheckpoint(newest.note, verifier, { isProven: true })
    if (checkpoint.treeSize !== newest.treeSize)
      throw new TokenvaultError('checkpoint_invalid', 'the published checkpoint is not of the size that its name says')
    await checkGrown(reader, checkpoint, { treeSize: head.treeSize, root: rootOf(head) })
  } catch (error) {
    if (!(error instanceof TokenvaultError)) throw error
    if (error.code === 'checkpoint_invalid')
      return [
        fail(
          `the newest published checkpoint is not one of this vault: ${error.message}`,
          'Give every vault a CHECKPOINT_URL of its own; if this one has, tell the security team.',
        ),
      ]
    if (error.code === 'audit_invalid')
      return [fail(`the log contradicts what is published: ${error.message}`, error.remedy)]
    throw error
  }
  const behind = stored.filter(({ treeSize }) => treeSize > newest.treeSize).length
  if (behind > underWay)
    return [
      warn(
        `the newest ${behind} checkpoints are not published`,
        'Look in the log of the API for checkpoint_failed, and check that it may write to CHECKPOINT_URL.',
      ),
    ]
  return [ok(`the log of ${head.treeSize} events has grown out of the newest one, of ${newest.treeSize}`)]
}
