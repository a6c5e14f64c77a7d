import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { TokenvaultError } from '../errors.ts'
import type { ErasureEntry, PublishedErasures } from '../vault/people/erasure-ports.ts'
import type { S3Sink } from './s3-sink.ts'
import { hasCode, publishError, publishFile } from './sinks.ts'

/** Enough digits for every number, so that names sort as numbers do. Letters sort behind the digits of checkpoints. */
const digits = 16

/** File or object that holds an entry: `erasure-0000000000000001.json`. */
export function erasureName(number: number): string {
  return `erasure-${String(number).padStart(digits, '0')}.json`
}

function numberOfName(name: string): number | undefined {
  const number = /^erasure-(\d{16})\.json$/.exec(name)?.[1]
  return number === undefined ? undefined : Number(number)
}

/** The same entry always gives the same text: tokens are sorted. */
function serialize({ number, certificate, tokens }: ErasureEntry): string {
  return `${JSON.stringify({ number, certificate, tokens: [...tokens].sort() })}\n`
}

/** @throws TokenvaultError `audit_invalid` */
function parse(text: string, number: number): ErasureEntry {
  try {
    const entry = Object(JSON.parse(text)) as Partial<ErasureEntry>
    const { certificate, tokens } = entry
    const areTexts = Array.isArray(tokens) && tokens.every(token => typeof token === 'string')
    if (entry.number === number && typeof certificate === 'string' && areTexts) return { number, certificate, tokens }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
  }
  throw new TokenvaultError('audit_invalid', `the published entry ${number} of the erasure ledger is malformed`)
}

function conflict(number: number): TokenvaultError {
  return new TokenvaultError('erasure_ledger_conflict', `another entry ${number} was published before`)
}

/** One file an entry, beside the checkpoints; written once, whole and durable, or not at all. */
export function createFileErasures(directory: string): PublishedErasures {
  return {
    async publish(entry) {
      try {
        await publishFile(directory, erasureName(entry.number), serialize(entry), () => conflict(entry.number))
      } catch (error) {
        throw publishError('the entry of the erasure ledger cannot be written', error)
      }
    },
    async findNewest() {
      try {
        const numbers = (await readdir(directory)).flatMap(name => numberOfName(name) ?? [])
        return numbers.reduce((largest, number) => Math.max(largest, number), 0)
      } catch (error) {
        throw publishError('the published erasure ledger cannot be read', error)
      }
    },
    async read(number) {
      try {
        return parse(await readFile(join(directory, erasureName(number)), 'utf8'), number)
      } catch (error) {
        if (hasCode(error, 'ENOENT')) return undefined
        throw publishError('the published erasure ledger cannot be read', error)
      }
    },
  }
}

/** One object an entry, put only where there is none. */
export function createS3Erasures(s3: Pick<S3Sink, 'put' | 'read' | 'list'>): PublishedErasures {
  return {
    publish: entry =>
      s3.put(erasureName(entry.number), serialize(entry), 'application/json', () => conflict(entry.number)),
    async findNewest(from) {
      let newest = 0
      for await (const name of s3.list(erasureName(Math.max(0, from - 1)))) newest = numberOfName(name) ?? newest
      return newest
    },
    async read(number) {
      const text = await s3.read(erasureName(number))
      return text === undefined ? undefined : parse(text, number)
    },
  }
}

/** One JSON line an entry, for those whose log collector is out of reach of the database's administrators. */
export function createStdoutErasures(stream: Writable): Pick<PublishedErasures, 'publish'> {
  return {
    publish: ({ number, certificate, tokens }) =>
      new Promise((resolve, reject) => {
        const line = `${JSON.stringify({ event: 'erasure', number, certificate, tokens })}\n`
        stream.write(line, error => (error ? reject(publishError('standard output', error)) : resolve()))
      }),
  }
}
