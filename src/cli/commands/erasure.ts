import type { Command } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { checkCertificate, type ErasureCertificate } from '../../tlog/erasure-certificate.ts'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { needVerifierKey, readJsonFile } from '../local/evidence-files.ts'
import { dataDirOption } from '../terminal/options.ts'
import { print, printable } from '../terminal/print.ts'
import { writeCertificate } from './person-erase.ts'

/** `tokenvault erasure …`: certificates of erasures. */
export function configure(erasure: Command): void {
  addApiOptions(erasure.command('show <number>').description('get the certificate of an erasure'), 'a privacy officer')
    .option('--out <file>', 'write it to this file, which must not exist')
    .action(show)
  erasure
    .command('check <file>')
    .description('check a certificate without database or API; - reads standard input')
    .option('--verifier-key <key>', 'verifier key of the log, or a file that holds it')
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line')
    .action(check)
}

async function show(number: string, options: ApiOptions & { readonly out?: string }): Promise<void> {
  if (!/^[1-9]\d{0,14}$/.test(number)) throw new TokenvaultError('usage', 'the number of an erasure is 1 or more')
  const certificate = await callApi<ErasureCertificate>(options, {
    method: 'GET',
    path: `/v1/erasures/${number}`,
    roles: ['privacy'],
  })
  if (options.out === undefined) return print(JSON.stringify(certificate, undefined, options.json ? 0 : 2))
  writeCertificate(options.out, certificate)
  print(certificate.proof === undefined ? 'written without a proof: no checkpoint covers it yet' : 'written')
}

function check(file: string, options: { verifierKey?: string; dataDir: string; json?: true }): void {
  const verifier = needVerifierKey(options.verifierKey, options.dataDir)
  const { erasure, isProven, completion } = checkCertificate(readJsonFile(file, 'the certificate'), verifier)
  if (options.json) {
    const isComplete = completion !== undefined
    print(JSON.stringify({ log: verifier.name, isProven, isComplete, erasure, completion }))
    return
  }
  const { number, at, rows, counts, backups } = erasure
  const lines = [
    `the certificate is genuine: erasure ${number} of ${verifier.name}, at ${at}, rows: ${rows}`,
    ...counts.map(({ kind, field, count }) => `  ${kind.replaceAll('_', ' ')}${field ? ` ${field}` : ''}: ${count}`),
    isProven
      ? `and its event stands in the log, at sequence ${erasure.event.sequence}`
      : 'no proof came along: get it again with `tokenvault erasure show` once a checkpoint covers it',
    completion === undefined
      ? `backups from before open it until these keys are destroyed, and the KEK that wraps them is replaced and gone: ${backups.keys.join(', ') || 'none'}`
      : `and the keys that open it in backups were destroyed: ${completion.destroyed.map(({ key }) => key).join(', ') || 'none'}; another KEK took over at sequence ${completion.rewrapped.sequence}`,
  ]
  print(lines.map(printable).join('\n'))
}
