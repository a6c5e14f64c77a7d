/** Options of `tokenvault up`. */
export interface UpOptions {
  readonly dataDir: string
  readonly port?: number
  readonly drain?: true
  readonly input?: string
  readonly json?: true
  readonly sample: boolean
}
