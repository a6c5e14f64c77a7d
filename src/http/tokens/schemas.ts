import Type from 'typebox'
import { maxBatchItems, purposePattern, ticketPattern } from '../../vault/admission/open-action.ts'

export const purposeSchema = Type.String({
  title: 'Purpose',
  description:
    'Why you ask, in lower-case words joined by _ or -; it becomes part of the evidence, so never put a value in it.',
  minLength: 1,
  pattern: purposePattern,
  examples: ['fraud_investigation'],
})

export const ticketSchema = Type.String({
  title: 'Ticket',
  description:
    'The ticket under which you act, where the policy asks for one; it becomes part of the evidence, so never put a value in it.',
  pattern: ticketPattern,
  examples: ['SEC-1234'],
})

export const batchSize = { minItems: 1, maxItems: maxBatchItems }

export const receiptSchema = Type.Object(
  {
    log: Type.String({ description: 'Name of the log.' }),
    sequence: Type.Integer({ minimum: 0, description: 'Place of the audit event of this call.' }),
    leafHash: Type.String({ description: 'base64 of SHA-256(0x00 ‖ event) (RFC 9162, 2.1.1).' }),
    signature: Type.String({
      description: 'base64 of key id ‖ Ed25519 signature; `tokenvault receipt verify` checks it.',
    }),
  },
  {
    title: 'Receipt',
    description: 'Signed promise that the audit event of this call is in the log. Keep it as your proof.',
  },
)

export const receiptExample = {
  log: 'tokenvault/default',
  sequence: 4711,
  leafHash: 'mFqNvXn1rQm0cB2o5rj3w9nVtX0n5b4Wc7h2k1Jx2nE=',
  signature: 'q1xw7QkRj9s2c0yqk0d1vJm4mS2o7k3o0m0Zb2l7b5o8kq4mB0h1m3xq7w5c2p9s6r8t1u4v7y0z3a6b9c2d5e8f1gA=',
}
