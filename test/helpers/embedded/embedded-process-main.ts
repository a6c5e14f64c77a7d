/** Serves what argv names until it is told to end: SIGTERM stops cleanly, SIGINT is left to a test of process groups. */
import { join } from 'node:path'
import { openDataDir } from '../../../src/embedded/data-dir.ts'
import { startPostgres } from '../../../src/embedded/postgres.ts'
import { readOrCreateSecret } from '../../../src/embedded/secret-file.ts'
import { startSqs } from '../../../src/embedded/sqs.ts'

const [served = '', dataDir = ''] = process.argv.slice(2)
process.on('SIGINT', () => {})
const { report, stop } = await serve()
process.on('SIGTERM', async () => {
  await stop()
  process.exit(0)
})
process.stdout.write(`${JSON.stringify(report)}\n`)
setInterval(() => {}, 60_000)

async function serve(): Promise<{ report: object; stop: () => Promise<void> | void }> {
  switch (served) {
    case 'postgres': {
      const { adminUrl, stop } = await startPostgres({ dataDir, port: 0 })
      return { report: { adminUrl }, stop }
    }
    case 'sqs':
    case 'sqs-in-memory': {
      const { endpoint, queueUrl, stop } = await startSqs({ port: 0, ...(served === 'sqs' && { dataDir }) })
      return { report: { endpoint, queueUrl }, stop }
    }
    case 'lock': {
      const { path, release } = openDataDir(dataDir)
      return { report: { path }, stop: release }
    }
    default:
      return { report: { secret: readOrCreateSecret(join(dataDir, 'secret'), 32).toString('hex') }, stop: () => {} }
  }
}
