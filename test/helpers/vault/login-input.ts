import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type SampleEvent, sampleEvents } from '../../../src/cli/local/sample-events.ts'
import { sharedFolder } from '../crypto/shared-vectors.ts'

/** A file of events for --input, and what is in it. */
export interface LoginInput {
  readonly name: string
  readonly path: string
  readonly logins: readonly SampleEvent[]
  /** Reason to skip, where the input is not there. */
  readonly skip: string | false
}

/** The 100 records of the real input: 99 logins and one that is not a login. They are not part of the project. */
export function realInput(): LoginInput {
  const path = join(sharedFolder ?? '', 'data', 'login-events.json')
  const name = 'the real input'
  if (sharedFolder === undefined || !existsSync(path))
    return { name, path, logins: [], skip: 'the real input is not here: no ../shared/data, or TOKENVAULT_SHARED=none' }
  const records: Partial<SampleEvent>[] = JSON.parse(readFileSync(path, 'utf8'))
  return { name, path, logins: records.filter((record): record is SampleEvent => 'user_id' in record), skip: false }
}

/** As many records of our own, every value different, so that a clone alone proves the same. */
export function sampleInput(directory: string): LoginInput {
  const logins = [...sampleEvents(99, 7)].map((event, index) => ({
    ...event,
    ip: `198.18.7.${index}`,
    device_id: `canary-device-${index}-7f3a`,
    locale: index < 29 ? null : 'DE',
    user_id: `${event.user_id} 🛰 é`,
  }))
  const path = join(directory, 'input.json')
  writeFileSync(path, JSON.stringify([...logins, { foo: 'canary-no-event-7f3a' }]))
  return { name: 'sample input', path, logins, skip: false }
}
