import type { Command } from 'commander'
import { composeDeadLetterQueue } from '../../compose/queue.ts'
import { openVault } from '../../compose/vault.ts'
import { loadConfig } from '../../config/load.ts'
import { createFirstIdentitySeal } from '../../ingest/first-identity.ts'
import { type DeadLetterTotals, redriveDeadLetters } from '../../ingest/redrive/dead-letters.ts'
import { createLog } from '../../log.ts'
import { orEmbedded } from '../local/state.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { dataDirOption, environmentHelp, wholeNumber } from '../terminal/options.ts'
import { print } from '../terminal/print.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'
import { formatTextTable } from '../terminal/text-table.ts'

const fromOne = wholeNumber(1, 999_999_999, 'It must be a number from 1.')

/** `tokenvault dlq …`: the dead-letter queue of the queue of login events. */
export function configure(dlq: Command): void {
  const add = (name: string, description: string) =>
    dlq
      .command(name)
      .description(description)
      .addOption(dataDirOption('without SQS_QUEUE_URL: where `tokenvault up` keeps its state'))
  add('status', 'print the redrive policy, and how many messages are in the queue and its dead-letter queue')
    .option('--json', 'print one JSON line', false)
    .addHelpText('after', environmentHelp('dlq'))
    .action(printStatus)
  add('redrive', 'move dead letters back to the queue; a message that took effect before changes nothing again')
    .option('--max <count>', 'messages to move, at most', fromOne)
    .option('--rate <count>', 'messages a second, at most', fromOne, 500)
    .option('--json', 'print the summary as one JSON line', false)
    .addHelpText('after', environmentHelp('dlq'))
    .addHelpText(
      'after',
      '\nIt also needs the variables with which the worker opens the keys: DATABASE_URL, KEK_FILE, TENANT.',
    )
    .action(redrive)
}

async function printStatus({ json, dataDir }: { json: boolean; dataDir: string }): Promise<void> {
  const environment = orEmbedded(process.env, dataDir)
  const queue = await composeDeadLetterQueue(loadConfig('dlq', environment), createLog('warn'), environment)
  try {
    const status = await queue.status()
    if (json) return print(JSON.stringify(status))
    const rows = [
      [status.queue, status.depth],
      [status.deadLetterQueue, status.deadLetterDepth],
    ] as const
    const header = ['queue', 'visible', 'in flight', 'delayed']
    print(
      formatTextTable(
        header,
        rows.map(([name, depth]) => [name, ...counts(depth)]),
      ),
    )
    print(`A message becomes a dead letter after ${status.maxReceiveCount} receives.`)
  } finally {
    queue.close()
  }
}

interface RedriveOptions {
  readonly max?: number
  readonly rate: number
  readonly json: boolean
  readonly dataDir: string
}

async function redrive({ max = Number.POSITIVE_INFINITY, rate, json, dataDir }: RedriveOptions): Promise<void> {
  const environment = orEmbedded(process.env, dataDir)
  const config = loadConfig('worker', environment)
  const signal = stopSignal()
  const { database, keys } = await openVault(config, { environment, applicationName: 'tokenvault dlq' })
  try {
    const queue = await composeDeadLetterQueue(config, createLog(config.LOG_LEVEL), environment)
    try {
      const { visible } = (await queue.status()).deadLetterDepth
      const bar = createProgressBar({
        total: Math.min(visible, max),
        unit: 'moved',
        isTerminal: process.stderr.isTTY === true,
      })
      let totals: DeadLetterTotals = { moved: 0, back: 0, notSent: 0, undeleted: 0 }
      const onProgress = (now: DeadLetterTotals) => {
        totals = now
        bar.update(now.moved)
      }
      const seal = createFirstIdentitySeal(keys)
      const end = { left: null as number | null, stopped: false, failed: true }
      try {
        await redriveDeadLetters({ queue, seal, max, perSecond: rate, signal, onProgress })
        end.left = (await queue.status()).deadLetterDepth.visible
        end.failed = false
      } finally {
        // The messages that were moved stay moved, whatever ended the command.
        end.stopped = signal.aborted
        bar.end()
        print(json ? JSON.stringify({ ...totals, ...end }) : describe(totals, end))
      }
      if (totals.notSent > 0) process.exitCode = 1
    } finally {
      queue.close()
    }
  } finally {
    await database.destroy()
  }
}

interface RedriveEnd {
  /** Null where it could not be asked. */
  readonly left: number | null
  readonly stopped: boolean
  readonly failed: boolean
}

function describe(
  { moved, back, notSent, undeleted }: DeadLetterTotals,
  { left, stopped, failed }: RedriveEnd,
): string {
  const parts = [`${moved} moved`]
  if (left !== null) parts.push(`${left} left`)
  if (back > 0) parts.push(`${back} came back and were left`)
  if (notSent > 0) parts.push(`${notSent} not taken by the queue`)
  if (undeleted > 0) parts.push(`${undeleted} not deleted, to be moved again without effect`)
  return `${failed ? 'failed: ' : stopped ? 'stopped: ' : ''}${parts.join(', ')}`
}

function counts({ visible, inFlight, delayed }: { visible: number; inFlight: number; delayed: number }): string[] {
  return [visible, inFlight, delayed].map(String)
}
