import { readFileSync } from 'node:fs'
import { TokenvaultError } from '../errors.ts'
import { type FieldSchema, loginFields } from '../vault/fields/fields.ts'
import { parseFieldsFile } from '../vault/files/fields-file.ts'

/**
 * The fields that a process tokenizes: those of FIELDS_FILE, or ip and device_id.
 *
 * @throws TokenvaultError `config_invalid` with the lines that are wrong
 */
export function readFields({ FIELDS_FILE: path }: { readonly FIELDS_FILE?: string | undefined }): FieldSchema {
  if (path === undefined) return loginFields
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new TokenvaultError('config_invalid', `FIELDS_FILE cannot be read (${code})`)
  }
  return parseFieldsFile(text)
}
