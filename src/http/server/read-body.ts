import type { IncomingMessage } from 'node:http'
import { TokenvaultError } from '../../errors.ts'
import type { BodyHold } from './body-budget.ts'

/** The first memory for a body, unless it is known to be shorter. Most bodies fit. */
const firstBytes = 16 * 1024

/**
 * Reads a body into one buffer that grows with what arrived, each growth out of the budget. Chunks are not kept: thousands of
 * one byte would hold a hundred times their length.
 *
 * @param limitBytes length of the longest body accepted
 * @throws TokenvaultError `body_too_large`, before anything is read where the length is announced; `overloaded`;
 *   `request_malformed` where the connection ends before the body
 */
export function readBody(
  message: IncomingMessage,
  { limitBytes, hold }: { readonly limitBytes: number; readonly hold: BodyHold },
): Promise<Buffer> {
  const announced = message.headers['content-length']
  const mostBytes = announced === undefined ? limitBytes : Number(announced)
  if (mostBytes > limitBytes) return Promise.reject(new TokenvaultError('body_too_large'))
  if (message.destroyed) return Promise.reject(cut())
  let body = Buffer.alloc(0)
  let length = 0

  const add = (chunk: Buffer): void => {
    const needed = length + chunk.length
    if (needed > limitBytes) throw new TokenvaultError('body_too_large')
    if (needed > body.length) {
      const size = Math.min(mostBytes, Math.max(needed, body.length * 2, firstBytes))
      hold.growTo(size)
      const grown = Buffer.allocUnsafeSlow(size)
      body.copy(grown, 0, 0, length)
      body = grown
    }
    chunk.copy(body, length)
    length = needed
  }

  return new Promise((resolve, reject) => {
    const settle = (outcome: () => void) => {
      message.off('data', onData).off('end', onEnd).off('error', onCut).off('close', onCut)
      outcome()
    }
    const onData = (chunk: Buffer) => {
      try {
        add(chunk)
      } catch (error) {
        settle(() => reject(error))
      }
    }
    const onEnd = () => settle(() => resolve(body.subarray(0, length)))
    const onCut = () => settle(() => reject(cut()))
    message.on('data', onData).on('end', onEnd).on('error', onCut).on('close', onCut)
  })
}

function cut(): TokenvaultError {
  return new TokenvaultError('request_malformed', 'the body ended too early')
}
