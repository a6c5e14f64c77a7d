import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import pg from 'pg'
import { loadConfig } from '../../src/config/load.ts'
import { openLocalKek } from '../../src/kms/local.ts'
import { createKeyReader } from '../../src/store/keys.ts'
import { createDatabase } from '../../src/store/postgres/database.ts'
import { loginFields } from '../../src/vault/fields/fields.ts'
import { FieldKeys } from '../../src/vault/keys/field-keys.ts'
import { openKeyset } from '../../src/vault/keys/wrapped-keys.ts'
import { createTokenizer } from '../../src/vault/tokens/tokenizer.ts'
import type { Candidate } from './candidate.ts'

/**
 * What people write first: receive 10, insert row by row with a commit each, delete one by one. It keeps no originals and
 * no receipts, so it does less than the worker, and a delivery that comes twice is stored twice.
 */
export const naiveLoop: Candidate = async ({ worker }, done, stop) => {
  const config = loadConfig('worker', worker)
  const tokenizer = await openTokenizer(config)
  const tokenOf = (field: string, value: string) => {
    const [result] = tokenizer.tokenizeValues(field, [value])
    return 'token' in result! ? result.token : null
  }
  const { SQS_QUEUE_URL: QueueUrl } = config
  const credentials = { accessKeyId: 'emulator', secretAccessKey: 'emulator' }
  const sqs = new SQSClient({ region: 'us-east-1', endpoint: config.AWS_ENDPOINT_URL_SQS!, credentials })
  const client = new pg.Client({ connectionString: config.DATABASE_URL })
  await client.connect()
  while (!stop.aborted) {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 1 }),
    )
    for (const { Body, ReceiptHandle } of Messages) {
      const event = JSON.parse(Body!)
      await client.query('INSERT INTO user_logins VALUES ($1, $2, $3, $4, $5, $6, $7)', [
        event.user_id,
        event.device_type,
        tokenOf('ip', event.ip),
        tokenOf('device_id', event.device_id),
        event.locale,
        Number.parseInt(event.app_version, 10),
        new Date().toISOString().slice(0, 10),
      ])
      await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }))
      done(1)
    }
  }
  sqs.destroy()
  await client.end()
}

async function openTokenizer(config: { KEK_FILE?: string | undefined; DATABASE_URL: string; TENANT: string }) {
  const database = createDatabase({ url: config.DATABASE_URL, poolMax: 1, applicationName: 'bench' })
  try {
    const keyset = await openKeyset(createKeyReader(database), openLocalKek(config.KEK_FILE!), config.TENANT)
    return createTokenizer(new FieldKeys(keyset, config.TENANT), loginFields)
  } finally {
    await database.destroy()
  }
}
