import { print } from './print.ts'

/** How a result is printed. */
export interface Output {
  readonly json: boolean
}

/** Prints a result: as one JSON line, or as lines for people. */
export function tell({ json }: Output, result: object, lines: readonly string[]): void {
  if (json) print(JSON.stringify(result))
  else for (const line of lines) print(line)
}
