import type { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { AwsSettings } from '../aws/client-settings.ts'
import { TokenvaultError } from '../errors.ts'
import type { CheckpointArchive, CheckpointSink } from '../vault/evidence/ports.ts'
import type { PublishedErasures } from '../vault/people/erasure-ports.ts'
import { createFileErasures, createS3Erasures, createStdoutErasures } from './erasures.ts'
import { createFileRecovery, type RecoveryPlace } from './recovery-file.ts'
import { createS3Sink } from './s3-sink.ts'
import { createFileReader, createFileSink, createStdoutSink } from './sinks.ts'

/** A sink, and how to let go of what it holds. */
export interface OpenSink extends CheckpointSink {
  /** Absent where nothing can be read back, as from standard output. */
  readonly published?: CheckpointArchive
  /** Where the recovery of the keys stands beside the checkpoints; absent where nothing can stand, as on standard output. */
  readonly recovery?: RecoveryPlace
  /** The erasure ledger, beside the checkpoints. Standard output gives nothing back, and its reader holds the ledger. */
  readonly erasures: Pick<PublishedErasures, 'publish'> & Partial<PublishedErasures>
  close(): void
}

/**
 * The sink that a CHECKPOINT_URL names: `stdout:`, `file:///directory/` or `s3://bucket/prefix`. Nothing is written or
 * called before the first checkpoint.
 *
 * @throws TokenvaultError `config_invalid`
 */
export function openCheckpointSink(
  url: string,
  options: { readonly stdout: Writable; readonly s3: AwsSettings | undefined },
): OpenSink {
  const { protocol, host, pathname } = new URL(url)
  switch (protocol) {
    case 'stdout:':
      return { ...createStdoutSink(options.stdout), erasures: createStdoutErasures(options.stdout), close() {} }
    case 'file:': {
      const directory = fileURLToPath(url)
      return {
        ...createFileSink(directory),
        published: createFileReader(directory),
        recovery: createFileRecovery(directory),
        erasures: createFileErasures(directory),
        close() {},
      }
    }
    case 's3:': {
      if (options.s3 === undefined) break
      const prefix = decodeURIComponent(pathname).replace(/^\/+|\/+$/g, '')
      const sink = createS3Sink({ ...options.s3, bucket: host, prefix })
      const { publish, publishHandOver } = sink
      return {
        publish,
        ...(publishHandOver && { publishHandOver }),
        published: sink,
        recovery: sink,
        erasures: createS3Erasures(sink),
        close: sink.close,
      }
    }
  }
  throw new TokenvaultError('config_invalid', 'CHECKPOINT_URL must begin with stdout:, file: or s3:')
}
