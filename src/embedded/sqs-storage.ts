import { mkdirSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'

/** The part of fauxqs's queue that we use. */
export interface SqsQueue {
  url: string
  persistence?: SqsStorage
  setAttributes(attributes: Readonly<Record<string, string>>): void
}

/** The part of fauxqs's queue store that we use. */
export interface SqsStore {
  host: string
  region?: string
  persistence?: SqsStorage
  allQueues(): Iterable<SqsQueue>
  getQueueByName(name: string): SqsQueue | undefined
  createQueue(name: string, url: string, arn: string, attributes: Readonly<Record<string, string>>): SqsQueue
}

/** The part of fauxqs's PersistenceManager that we use. */
export interface SqsStorage {
  readonly db: DatabaseSync
  loadSqsQueues(store: SqsStore): void
  updateMessageReady(messageId: string): void
  deleteMessage(messageId: string): void
  deleteQueueMessages(queueName: string): void
  deleteAllMessages(): void
  close(): void
}

/**
 * fauxqs's own modules, by file, because its public `startFauxqs` always listens on 0.0.0.0, where anybody on the
 * network could read the messages. The version is pinned; test/embedded/sqs.test.ts fails when these move.
 */
async function fauxqsModule(path: string): Promise<Record<string, unknown>> {
  return await import(new URL(path, import.meta.resolve('fauxqs')).href)
}

export async function createSqsStore(): Promise<SqsStore> {
  const { SqsStore } = (await fauxqsModule('sqs/sqsStore.js')) as { SqsStore: new () => SqsStore }
  return new SqsStore()
}

/** How long the body of a deleted message may stay in the write-ahead log of a queue that runs. */
const eraseMilliseconds = 1_000

/**
 * Opens `fauxqs.db` in the directory, which is created with mode 0700. Bodies of deleted messages leave its files within a
 * second; after kill -9, at the next start.
 */
export async function openSqsStorage(directory: string): Promise<SqsStorage> {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const { PersistenceManager } = (await fauxqsModule('persistence.js')) as {
    PersistenceManager: new (directory: string) => SqsStorage
  }
  const storage = new PersistenceManager(directory)
  // Deleted bodies are overwritten with zeros. NORMAL: a commit survives kill -9 without an fsync for every message.
  storage.db.exec('PRAGMA secure_delete = ON; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY')
  // The write-ahead log that a killed process left still holds bodies of deleted messages.
  dropWriteAheadLog(storage)
  // fauxqs 2.4.1 writes NULL into a NOT NULL column here: a visibility timeout of 0 would lose the message.
  const makeReady = storage.db.prepare(
    'UPDATE sqs_messages SET receipt_handle = NULL, visibility_deadline = NULL WHERE message_id = ?',
  )
  storage.updateMessageReady = messageId => void makeReady.run(messageId)
  eraseAfterDeletes(storage)
  return storage
}

/**
 * Nothing else empties the write-ahead log of a quiet queue: SQLite checkpoints at a size, and then keeps the old content.
 * Emptying it takes an fsync, so that a delete does not wait for it, and all deletes of a second share one.
 */
function eraseAfterDeletes(storage: SqsStorage): void {
  let isPlanned = false
  const erase = () => {
    isPlanned = false
    // Closing empties it as well.
    if (!storage.db.isOpen) return
    try {
      dropWriteAheadLog(storage)
    } catch {
      // Such as a full disk. It says itself in the calls that store messages, and the bodies are still to be erased.
      later()
    }
  }
  const later = () => {
    if (isPlanned) return
    isPlanned = true
    setTimeout(erase, eraseMilliseconds).unref()
  }
  for (const name of ['deleteMessage', 'deleteQueueMessages', 'deleteAllMessages'] as const) {
    const remove = storage[name].bind(storage)
    storage[name] = (key?: string) => {
      remove(key as string)
      later()
    }
  }
}

/**
 * Loads the kept queues and messages. What was in flight is visible at once, because whoever had received it ended with
 * the process before this one; SQS delivers at least once, so a consumer that lives on elsewhere is served correctly too.
 */
export function loadSqsStorage(storage: SqsStorage, store: SqsStore): void {
  storage.db.exec('UPDATE sqs_messages SET receipt_handle = NULL, visibility_deadline = NULL')
  storage.loadSqsQueues(store)
  store.persistence = storage
  for (const queue of store.allQueues()) queue.persistence = storage
}

/** Closes the files; of messages that were deleted nothing stays behind in them. */
export function closeSqsStorage(storage: SqsStorage): void {
  dropWriteAheadLog(storage)
  storage.close()
}

function dropWriteAheadLog(storage: SqsStorage): void {
  storage.db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
}
