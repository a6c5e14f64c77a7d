/** What `tokenvault up` starts, in about the order in which it is ready. */
export const startSteps = ['queue', 'issuer', 'Postgres', 'migrations', 'API', 'worker'] as const

export type StartStep = (typeof startSteps)[number]

/** Tells how far a start is. */
export interface StartProgress {
  done(step: StartStep): void
  /** Takes away what a terminal still shows of it. */
  end(): void
}

/**
 * Progress of a start: one line that changes on a terminal, otherwise a line for each thing that is ready.
 *
 * @param isTerminal whether the output can take a line back, which a dumb terminal cannot
 */
export function createStartProgress(isTerminal: boolean, write: (text: string) => void): StartProgress {
  const pending = new Set<StartStep>(startSteps)
  let isShown = false
  const show = () => {
    isShown = true
    write(`\r\u001b[Kstarting ${[...pending].join(', ')} …`)
  }
  if (isTerminal) show()
  return {
    done(step) {
      if (!pending.delete(step)) return
      if (!isTerminal) write(`${step} ready\n`)
      else if (pending.size > 0) show()
    },
    end() {
      if (isShown) write('\r\u001b[K')
      isShown = false
    },
  }
}
