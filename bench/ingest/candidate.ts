/** What a candidate works on; `worker` is the environment of `tokenvault worker`. */
export interface DrainTask {
  readonly worker: Readonly<Record<string, string>>
}

/** Drains the task's queue until the signal is aborted; tells how many messages are done, deleted included, as they are. */
export type Candidate = (task: DrainTask, done: (messages: number) => void, stop: AbortSignal) => Promise<void>

/** What the process tells its parent. Times are milliseconds since 1970. */
export type CandidateReport =
  | { readonly kind: 'done'; readonly messages: number }
  | {
      readonly kind: 'ended'
      readonly startedAtMs: number
      readonly lastAtMs: number
      readonly peakRssMb: number
      readonly cpuMicroseconds: number
    }
