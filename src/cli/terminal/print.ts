/** One line, or more, of a command's answer. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

/**
 * A text that came from outside, for a terminal: control and format characters, which could move the cursor or turn the
 * direction of writing, become `\u{..}`.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, character => `\\u{${character.codePointAt(0)!.toString(16)}}`)
}
