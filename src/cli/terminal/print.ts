/** One line, or more, of a command's answer. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
