import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { fileWriter, ParquetWriter } from 'hyparquet-writer'
import { TokenvaultError } from '../../errors.ts'

/** A file of `old_token,new_token` that is there whole or not at all. */
export interface TokenMapFile {
  /** Adds pairs; nothing of them stays in memory. */
  write(pairs: readonly { readonly oldToken: string; readonly newToken: string }[]): void
  /** Puts the file in its place. */
  finish(): void
  /** Leaves nothing behind, unless it is finished. */
  abandon(): void
}

/** Letters of every format of tokens: none of them means something in CSV. */
const tokenLetters = /^[A-Za-z0-9_:-]+$/

/**
 * @param path ends in .csv or .parquet, which says what is written
 * @throws TokenvaultError `usage` for another ending, or where the file cannot be written
 */
export function createTokenMapFile(path: string): TokenMapFile {
  const draft = `${path}.${process.pid}.part`
  const open = path.endsWith('.csv') ? openCsv : path.endsWith('.parquet') ? openParquet : undefined
  if (open === undefined) throw new TokenvaultError('usage', '--out ends in .csv or .parquet')
  const naming = <T>(work: () => T): T => {
    try {
      return work()
    } catch (error) {
      if (error instanceof TokenvaultError) throw error
      const { code = 'of an unknown kind' } = error as NodeJS.ErrnoException
      throw new TokenvaultError('usage', `the file that --out names cannot be written: ${code}`)
    }
  }
  const format = naming(() => open(draft))
  return {
    write: pairs =>
      naming(() => {
        for (const { oldToken, newToken } of pairs)
          if (!tokenLetters.test(oldToken) || !tokenLetters.test(newToken))
            throw new TokenvaultError('token_malformed', 'an alias holds text that is not a token; nothing was written')
        format.write(pairs)
      }),
    finish: () =>
      naming(() => {
        format.finish()
        renameSync(draft, path)
      }),
    abandon: () => rmSync(draft, { force: true }),
  }
}

type Format = Omit<TokenMapFile, 'abandon'>

function openCsv(draft: string): Format {
  const file = openSync(draft, 'wx', 0o600)
  writeSync(file, 'old_token,new_token\n')
  return {
    write: pairs => {
      const text = Buffer.from(pairs.map(({ oldToken, newToken }) => `${oldToken},${newToken}\n`).join(''))
      for (let at = 0; at < text.length; ) at += writeSync(file, text, at)
    },
    finish: () => closeSync(file),
  }
}

/** Each call of `write` makes a row group. */
function openParquet(draft: string): Format {
  closeSync(openSync(draft, 'wx', 0o600))
  const column = (name: string) =>
    ({ name, type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' }) as const
  const writer = new ParquetWriter({
    writer: fileWriter(draft),
    schema: [{ name: 'root', num_children: 2 }, column('old_token'), column('new_token')],
    statistics: false,
    createdBy: 'tokenvault',
  })
  return {
    write: pairs =>
      void writer.write({
        columnData: [
          { name: 'old_token', data: pairs.map(({ oldToken }) => oldToken) },
          { name: 'new_token', data: pairs.map(({ newToken }) => newToken) },
        ],
        rowGroupSize: Math.max(1, pairs.length),
      }),
    finish: () => void writer.finish(),
  }
}
