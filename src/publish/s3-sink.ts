import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { type AwsSettings, awsClientConfig } from '../aws/client-settings.ts'
import { TokenvaultError } from '../errors.ts'
import type { CheckpointArchive, CheckpointSink } from '../vault/evidence/ports.ts'
import { type RecoveryPlace, recoveryName } from './recovery-file.ts'
import { checkpointName, conflictError, handOverName, longestNoteBytes, publishError, sizeOfName } from './sinks.ts'

export interface S3SinkOptions extends AwsSettings {
  readonly bucket: string
  /** In front of the name, without a slash at its end; '' for none. */
  readonly prefix: string
  /** Milliseconds that a call may take; 5,000 when absent. */
  readonly callTimeoutMilliseconds?: number | undefined
}

/** A CheckpointSink that holds connections. */
export interface S3Sink extends CheckpointSink, CheckpointArchive, RecoveryPlace {
  /** Puts an object that keeps its content for ever. @throws TokenvaultError `conflict` where it has another one */
  put(name: string, content: string, type: string, conflict: () => TokenvaultError): Promise<void>
  /** @returns undefined where there is none */
  read(name: string): Promise<string | undefined>
  /** Names of objects after that one, in order. */
  list(startAfter: string): AsyncIterable<string>
  close(): void
}

/**
 * One object a checkpoint, put only where there is none (`If-None-Match: *`). It takes the permissions s3:PutObject and
 * s3:GetObject, and s3:ListBucket for `findNewest`. The recovery of the keys is one object that is put anew, and deleted
 * (s3:DeleteObject) where there is none any more. A bucket with Object Lock keeps the objects from those who may delete as well.
 *
 * @returns a sink that throws TokenvaultError `checkpoint_unavailable`; `audit_invalid` where the object holds another one
 */
export function createS3Sink(options: S3SinkOptions): S3Sink {
  const client = createS3Client(options)
  const { bucket: Bucket, prefix } = options
  const folder = prefix === '' ? '' : `${prefix}/`
  const find = async (from: number, most: number) => {
    const treeSize = await findLargest(client, { Bucket, folder, from, most })
    if (treeSize === undefined) return undefined
    const note = await readNote(client, { Bucket, Key: `${folder}${checkpointName(treeSize)}` })
    return { treeSize, note: note.slice(0, longestNoteBytes) }
  }
  const put: S3Sink['put'] = async (name, Body, ContentType, conflict) => {
    const place = { Bucket, Key: `${folder}${name}` }
    try {
      await client.send(new PutObjectCommand({ ...place, Body, ContentType, IfNoneMatch: '*' }))
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'PreconditionFailed') throw publishError('PutObject', error)
      if ((await readNote(client, place)) !== Body) throw conflict()
    }
  }
  return {
    put,
    async read(name) {
      try {
        return await readNote(client, { Bucket, Key: `${folder}${name}` })
      } catch (error) {
        if (error instanceof TokenvaultError && error.message.endsWith('GetObject: NoSuchKey')) return undefined
        throw error
      }
    },
    list: startAfter => listNames(client, { Bucket, folder, startAfter }),
    publish: ({ treeSize, note }) =>
      put(checkpointName(treeSize), note, 'text/plain; charset=utf-8', () => conflictError(treeSize)),
    publishHandOver: ({ treeSize, note }) =>
      put(handOverName(treeSize), note, 'text/plain; charset=utf-8', () => conflictError(treeSize)),
    findNewest: from => find(from, Number.MAX_SAFE_INTEGER),
    findAtMost: treeSize => find(0, treeSize),
    async writeRecovery(sealed) {
      const place = { Bucket, Key: `${folder}${recoveryName}` }
      try {
        await client.send(new PutObjectCommand({ ...place, Body: sealed, ContentType: 'text/plain; charset=utf-8' }))
      } catch (error) {
        throw publishError('PutObject of the recovery', error)
      }
    },
    async removeRecovery() {
      const place = { Bucket, Key: `${folder}${recoveryName}` }
      try {
        // Looked for first, so that who never had one needs no right to delete.
        const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket, Prefix: place.Key, MaxKeys: 1 }))
        if (Contents.some(({ Key }) => Key === place.Key)) await client.send(new DeleteObjectCommand(place))
      } catch (error) {
        throw publishError('DeleteObject of the recovery', error)
      }
    },
    close: () => client.destroy(),
  }
}

/** S3 lists names in ascending order only, so the pages from that size on are read to their end. */
async function findLargest(
  client: S3Client,
  options: { readonly Bucket: string; readonly folder: string; readonly from: number; readonly most: number },
): Promise<number | undefined> {
  const { Bucket, folder, from, most } = options
  let largest: number | undefined
  // The name just before that of the size.
  let StartAfter: string | undefined = from > 0 ? `${folder}${checkpointName(from - 1)}` : undefined
  for (;;) {
    const { Contents: objects = [], IsTruncated: isTruncated } = await client
      .send(new ListObjectsV2Command({ Bucket, Prefix: folder, ...(StartAfter === undefined ? {} : { StartAfter }) }))
      .catch(error => {
        throw publishError('ListObjectsV2', error)
      })
    const sizes = objects.flatMap(({ Key = '' }) => sizeOfName(Key.slice(folder.length)) ?? [])
    largest = sizes
      .filter(size => size >= from && size <= most)
      .reduce<number | undefined>((a, b) => Math.max(a ?? b, b), largest)
    const last = objects.at(-1)?.Key
    if (isTruncated !== true || last === undefined || sizes.some(size => size > most)) return largest
    StartAfter = last
  }
}

async function readNote(client: S3Client, place: { readonly Bucket: string; readonly Key: string }): Promise<string> {
  try {
    const { Body } = await client.send(new GetObjectCommand(place))
    return (await Body?.transformToString('utf-8')) ?? ''
  } catch (error) {
    throw publishError('GetObject', error)
  }
}

/** In ascending order, as S3 lists them. */
async function* listNames(
  client: S3Client,
  { Bucket, folder, startAfter }: { readonly Bucket: string; readonly folder: string; readonly startAfter: string },
): AsyncGenerator<string> {
  for (let StartAfter = `${folder}${startAfter}`; ; ) {
    const { Contents: objects = [], IsTruncated: isTruncated } = await client
      .send(new ListObjectsV2Command({ Bucket, Prefix: folder, StartAfter }))
      .catch(error => {
        throw publishError('ListObjectsV2', error)
      })
    for (const { Key = '' } of objects) yield Key.slice(folder.length)
    const last = objects.at(-1)?.Key
    if (isTruncated !== true || last === undefined) return
    StartAfter = last
  }
}

/** An SDK client that cannot hang. */
export function createS3Client(options: S3SinkOptions): S3Client {
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
