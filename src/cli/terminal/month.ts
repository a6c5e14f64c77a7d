import { InvalidArgumentError } from 'commander'

/** For an option that takes a month. */
export function month(text: string): string {
  if (!/^\d{4}-(0[1-9]|1[0-2])$/.test(text)) throw new InvalidArgumentError('It takes a month: 2026-01.')
  return text
}

/** The present UTC month. */
export function presentMonth(): string {
  return new Date().toISOString().slice(0, 7)
}

/** For people: 1.2 MB. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`
}
