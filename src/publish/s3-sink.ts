import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { type AwsSettings, awsClientConfig } from '../aws/client-settings.ts'
import type { CheckpointSink, StoredCheckpoint } from '../vault/evidence/ports.ts'
import { checkpointName, conflictError, publishError } from './sinks.ts'

export interface S3SinkOptions extends AwsSettings {
  readonly bucket: string
  /** In front of the name, without a slash at its end; '' for none. */
  readonly prefix: string
  /** Milliseconds that a call may take; 5,000 when absent. */
  readonly callTimeoutMilliseconds?: number | undefined
}

/** A CheckpointSink that holds connections. */
export interface S3Sink extends CheckpointSink {
  close(): void
}

/**
 * One object a checkpoint, put only where there is none (`If-None-Match: *`). It takes the permissions s3:PutObject and
 * s3:GetObject. A bucket with Object Lock keeps the objects from those who may delete as well.
 *
 * @returns a sink that throws TokenvaultError `checkpoint_unavailable`; `audit_invalid` where the object holds another one
 */
export function createS3Sink(options: S3SinkOptions): S3Sink {
  const client = createS3Client(options)
  const { bucket: Bucket, prefix } = options
  return {
    async publish(checkpoint) {
      const name = checkpointName(checkpoint.treeSize)
      const Key = prefix === '' ? name : `${prefix}/${name}`
      try {
        await client.send(
          new PutObjectCommand({
            Bucket,
            Key,
            Body: checkpoint.note,
            ContentType: 'text/plain; charset=utf-8',
            IfNoneMatch: '*',
          }),
        )
      } catch (error) {
        if (!(error instanceof Error) || error.name !== 'PreconditionFailed') throw publishError('PutObject', error)
        await compare(client, { Bucket, Key }, checkpoint)
      }
    },
    close: () => client.destroy(),
  }
}

async function compare(
  client: S3Client,
  place: { readonly Bucket: string; readonly Key: string },
  { treeSize, note }: StoredCheckpoint,
): Promise<void> {
  let published: string | undefined
  try {
    const { Body } = await client.send(new GetObjectCommand(place))
    published = await Body?.transformToString('utf-8')
  } catch (error) {
    throw publishError('GetObject', error)
  }
  if (published !== note) throw conflictError(treeSize)
}

/** An SDK client that cannot hang. */
function createS3Client(options: S3SinkOptions): S3Client {
  const { callTimeoutMilliseconds = 5_000 } = options
  return new S3Client({
    ...awsClientConfig(options, {
      connectMilliseconds: callTimeoutMilliseconds,
      requestMilliseconds: callTimeoutMilliseconds,
      idleMilliseconds: callTimeoutMilliseconds,
      maxSockets: 4,
    }),
    // Storage of one's own rarely has a host name for each bucket.
    forcePathStyle: options.endpoint !== undefined,
    // Checkpoints are signed; storage that knows no checksums but these would refuse the call.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Tried again by the schedule, which also says so.
    maxAttempts: 2,
  })
}
