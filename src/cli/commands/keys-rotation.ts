/** Purposes whose keys rotate. Only of a token key, which is rotated when it leaked, do tokens change by it, and no receipt does. */
export const rotatingPurposes = ['data', 'quarantine', 'audit', 'signing', 'token'] as const

/** What an administrator is told to do next. */
export const afterRotation: Readonly<Record<(typeof rotatingPurposes)[number], readonly string[]>> = {
  data: ['`tokenvault keys reseal` moves what earlier keys sealed.'],
  quarantine: ['`tokenvault keys reseal --kind quarantine` moves the bodies that earlier keys sealed.'],
  audit: [],
  token: [
    'New values get new tokens from now on. `tokenvault keys retokenize`, with the same --field, replaces the earlier ones,',
    'which go on opening by their alias. Until it has ended, equal values may have two tokens.',
  ],
  signing: [
    'Publish what `tokenvault audit key` prints now: the hand-over leads from the key that outsiders keep to this one.',
  ],
}
