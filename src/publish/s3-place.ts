import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { type FilePlace, type PlacedFile, placeError } from './place.ts'
import { createS3Client, type S3SinkOptions } from './s3-sink.ts'

/** S3 takes 10,000 parts of 5 MB and more: 160 GB in a file. */
const partBytes = 16 * 1024 * 1024

/**
 * Files as objects. A larger one goes up in parts, and stands there once all did. It takes the permissions s3:PutObject,
 * s3:GetObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket.
 */
export function createS3Place(options: S3SinkOptions): FilePlace {
  const client = createS3Client({ callTimeoutMilliseconds: 60_000, ...options })
  const { bucket: Bucket, prefix } = options
  const at = (name: string) => ({ Bucket, Key: prefix === '' ? name : `${prefix}/${name}` })
  const named = async <T>(doing: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw placeError(doing, error)
    }
  }
  return {
    async write(name, chunks) {
      const upload = createUpload(client, at(name), named)
      try {
        let held: Uint8Array[] = []
        let heldBytes = 0
        for await (const chunk of chunks) {
          held.push(chunk)
          heldBytes += chunk.length
          if (heldBytes < partBytes) continue
          await upload.add(Buffer.concat(held))
          held = []
          heldBytes = 0
        }
        await upload.end(Buffer.concat(held))
      } catch (error) {
        await upload.abort()
        throw error
      }
    },
    open: name =>
      named('GetObject', async () => {
        const { Contents = [] } = await client.send(
          new ListObjectsV2Command({ Bucket, Prefix: at(name).Key, MaxKeys: 1 }),
        )
        const size = Contents.find(({ Key }) => Key === at(name).Key)?.Size
        return size === undefined ? undefined : createFile(client, at(name), size)
      }),
    async remove(name) {
      await named('DeleteObject', () => client.send(new DeleteObjectCommand(at(name))))
    },
    close: () => client.destroy(),
  }
}

type Named = <T>(doing: string, work: () => Promise<T>) => Promise<T>
type Place = { readonly Bucket: string; readonly Key: string }

function createUpload(client: S3Client, place: Place, named: Named) {
  let UploadId: string | undefined
  const parts: { ETag: string | undefined; PartNumber: number }[] = []
  const add = (Body: Uint8Array) =>
    named('UploadPart', async () => {
      UploadId ??= (await client.send(new CreateMultipartUploadCommand(place))).UploadId
      const PartNumber = parts.length + 1
      const { ETag } = await client.send(new UploadPartCommand({ ...place, UploadId, PartNumber, Body }))
      parts.push({ ETag, PartNumber })
    })
  return {
    add,
    async end(Body: Uint8Array) {
      if (UploadId === undefined)
        return void (await named('PutObject', () => client.send(new PutObjectCommand({ ...place, Body }))))
      if (Body.length > 0) await add(Body)
      const command = new CompleteMultipartUploadCommand({ ...place, UploadId, MultipartUpload: { Parts: parts } })
      await named('CompleteMultipartUpload', () => client.send(command))
    },
    /** The parts of an upload that never ends cost storage. What fails here has failed before, and was told. */
    async abort() {
      if (UploadId !== undefined)
        await client.send(new AbortMultipartUploadCommand({ ...place, UploadId })).catch(() => {})
    },
  }
}

function createFile(client: S3Client, place: Place, byteLength: number): PlacedFile {
  return {
    byteLength,
    async slice(start, end = byteLength) {
      if (end <= start) return new ArrayBuffer(0)
      try {
        const { Body } = await client.send(new GetObjectCommand({ ...place, Range: `bytes=${start}-${end - 1}` }))
        return Uint8Array.from((await Body?.transformToByteArray()) ?? []).buffer
      } catch (error) {
        throw placeError('GetObject', error)
      }
    },
  }
}
