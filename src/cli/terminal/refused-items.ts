import { type ErrorCode, errorCatalogue } from '../../errors.ts'

/**
 * Says once for each code why items of a reply were refused and what to do, beside what a script reads from standard output,
 * and sets exit code 1 where any was.
 */
export function tellRefusedItems(items: readonly { readonly error?: { readonly code: string } }[]): void {
  const codes = new Set(items.flatMap(({ error }) => (error === undefined ? [] : [error.code])))
  if (codes.size > 0) process.exitCode = 1
  for (const code of codes) {
    // A newer API may have codes that are unknown here.
    if (!Object.hasOwn(errorCatalogue, code)) continue
    const { meaning, remedy } = errorCatalogue[code as ErrorCode]
    process.stderr.write(`tokenvault: ${code}: ${meaning} ${remedy}\n`)
  }
}
