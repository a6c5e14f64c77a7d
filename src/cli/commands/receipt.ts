import type { Command } from 'commander'
import { checkReceipt } from '../../tlog/check-receipt.ts'
import { needVerifierKey, readJsonFile } from '../local/evidence-files.ts'
import { dataDirOption } from '../terminal/options.ts'
import { printable } from '../terminal/print.ts'

interface Options {
  readonly key?: string
  readonly proof?: string
  readonly dataDir: string
  readonly json?: true
}

/** `tokenvault receipt verify`: for callers, who hold nothing but a reply and the verifier key. */
export function configure(receipt: Command): void {
  receipt
    .command('verify <file>')
    .description('check a receipt, or the reply that holds it, without database or API; - reads standard input')
    .option('--key <key>', 'verifier key of the log, or a file that holds it')
    .option('--proof <file>', 'also check that the log kept its promise, by this inclusion proof of the event')
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line')
    .action(verify)
}

function verify(file: string, { key, proof, dataDir, json }: Options): void {
  const verifier = needVerifierKey(key, dataDir)
  const receipt = readJsonFile(file, 'the receipt')
  const { sequence, leafHash, proven } = checkReceipt(
    receipt,
    verifier,
    proof === undefined ? undefined : readJsonFile(proof, '--proof'),
  )
  if (json) {
    const leaf = Buffer.from(leafHash).toString('base64')
    const found = proven && { treeSize: proven.checkpoint.treeSize, event: proven.event }
    process.stdout.write(`${JSON.stringify({ log: verifier.name, sequence, leafHash: leaf, proven: found })}\n`)
    return
  }
  const lines = [
    `the receipt is genuine: ${verifier.name} promised the event at sequence ${sequence}`,
    ...(proven === undefined ? [] : [`and kept it: it stands in the log with ${proven.checkpoint.treeSize} events`]),
    ...(proven?.event === undefined ? [] : [printable(proven.event)]),
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}
