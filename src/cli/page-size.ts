import { InvalidArgumentError } from 'commander'

/** For --limit: what the API takes as `limit`. */
export function parsePageSize(text: string): string {
  if (!/^([1-9]\d{0,2}|1000)$/.test(text)) throw new InvalidArgumentError('It must be 1 to 1000.')
  return text
}
