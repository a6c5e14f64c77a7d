import { configVariables, type ProcessName } from '../config/load.ts'

/** The variables of a process, for its --help. */
export function environmentHelp(processName: ProcessName): string {
  const lines = Object.entries(configVariables[processName]).map(([name, schema]) => {
    const { description = '', default: fallback } = schema as { description?: string; default?: unknown }
    return `  ${name.padEnd(34)} ${description}${fallback === undefined ? '' : ` (default ${String(fallback)})`}`
  })
  return `\nEnvironment (any text can also be given in a file, by NAME_FILE):\n${lines.join('\n')}`
}
