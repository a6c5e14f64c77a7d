const locales = ['RU', 'ID', 'CN', 'FR', 'PT', 'BR', 'PH', 'KE', null, null, null]
const firstOctets = [24, 62, 81, 98, 118, 130, 151, 172, 185, 203]

/** A login event as producers send it. */
export interface SampleEvent {
  readonly user_id: string
  readonly app_version: string
  readonly device_type: string
  readonly ip: string
  readonly locale: string | null
  readonly device_id: string
}

/**
 * Realistic events, the same for the same seed. About one device in five logs in again, sometimes as another user, so
 * that there are duplicates to find; some addresses are IPv6.
 *
 * @param count how many
 * @param seed any 32-bit number
 */
export function* sampleEvents(count: number, seed: number): Generator<SampleEvent> {
  const next = seededRandom(seed)
  const below = (limit: number) => Math.floor(next() * limit)
  const hex = (digits: number) => Array.from({ length: digits }, () => below(16).toString(16)).join('')
  const pick = <T>(values: readonly T[]): T => values[below(values.length)]!
  const recent: SampleEvent[] = []
  for (let index = 0; index < count; index++) {
    const user_id = `${hex(8)}-${hex(4)}-4${hex(3)}-8${hex(3)}-${hex(12)}`
    const earlier = recent.length > 0 && next() < 0.2 ? pick(recent) : undefined
    const ip =
      next() < 0.1
        ? `2001:db8:${hex(4)}::${hex(4)}`
        : `${pick(firstOctets)}.${below(256)}.${below(256)}.${1 + below(254)}`
    const event: SampleEvent = {
      user_id: earlier !== undefined && next() < 0.5 ? earlier.user_id : user_id,
      app_version: `${below(8)}.${below(10)}.${below(10)}`,
      device_type: next() < 0.5 ? 'android' : 'ios',
      ip: earlier !== undefined && next() < 0.5 ? earlier.ip : ip,
      locale: pick(locales),
      device_id: earlier?.device_id ?? `${100 + below(900)}-${10 + below(90)}-${1000 + below(9000)}`,
    }
    // A window, so that any count takes the same memory.
    if (recent.push(event) > 1000) recent.shift()
    yield event
  }
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). Not for keys. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
