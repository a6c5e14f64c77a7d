import { readFileSync } from 'node:fs'
import { TokenvaultError } from '../errors.ts'
import { type FieldSchema, loginFields } from '../vault/fields/fields.ts'
import { type FieldsFile, parseFieldsFile } from '../vault/files/fields-file.ts'

/**
 * The fields that a process tokenizes: those of FIELDS_FILE, or ip and device_id.
 *
 * @throws TokenvaultError `config_invalid` with the lines that are wrong
 */
export function readFields(config: NamesFieldsFile): FieldSchema {
  return readFieldsFile(config).fields
}

interface NamesFieldsFile {
  readonly FIELDS_FILE?: string | undefined
}

/** As readFields, with the columns for what is stored in clear besides. */
export function readFieldsFile({ FIELDS_FILE: path }: NamesFieldsFile): FieldsFile {
  if (path === undefined) return { fields: loginFields, clear: [] }
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new TokenvaultError('config_invalid', `FIELDS_FILE cannot be read (${code})`)
  }
  return parseFieldsFile(text)
}
