import { InvalidArgumentError, Option } from 'commander'
import { type ProcessName, variablesOf } from '../../config/variables.ts'
import { defaultDataDir } from '../local/state.ts'

/** Option `--data-dir`. An empty text, as of a variable that is not set, would mean the current directory. */
export function dataDirOption(description = 'where `tokenvault up` keeps its state'): Option {
  const parse = (text: string) => {
    if (text === '') throw new InvalidArgumentError('It must not be empty.')
    return text
  }
  return new Option('--data-dir <dir>', description).argParser(parse).default(defaultDataDir)
}

/** Parser of an option that takes a whole number from `least` to `most`. @param problem what is said of other texts */
export function wholeNumber(least: number, most: number, problem = `It must be ${least} to ${most}.`) {
  return (text: string): number => {
    const number = Number(text)
    if (!/^\d{1,15}$/.test(text) || number < least || number > most) throw new InvalidArgumentError(problem)
    return number
  }
}

/** Entries of one page, at most: what the API takes. */
export const largestPage = 1000

/** Parser of `--limit`: the page sizes that the API takes, as a text for its query. */
export function parsePageSize(text: string): string {
  return String(wholeNumber(1, largestPage)(text))
}

/** Parser of an option that is repeated for several values. */
export function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value]
}

/** The variables of a process, for its --help. */
export function environmentHelp(processName: ProcessName): string {
  const lines = [...variablesOf(processName)].map(([name, { description, defaultValue }]) => {
    return `  ${name.padEnd(34)} ${description}${defaultValue === undefined ? '' : ` (default ${defaultValue})`}`
  })
  return `\nEnvironment (any text can also be given in a file, by NAME_FILE):\n${lines.join('\n')}`
}
