type Step = () => Promise<void>

/**
 * Runs, then closes all that was opened meanwhile, the last opened first, even where one of these fails.
 *
 * @param run adds a closer for each thing that it opens
 * @throws the first failure, that of the run before those of the closers
 */
export async function runThenClose(run: (closing: Step[]) => Promise<void>): Promise<void> {
  const closing: Step[] = []
  const failures: unknown[] = []
  const attempt = async (step: Step) => {
    try {
      await step()
    } catch (error) {
      failures.push(error)
    }
  }
  await attempt(() => run(closing))
  for (const close of closing.reverse()) await attempt(close)
  if (failures.length > 0) throw failures[0]
}
