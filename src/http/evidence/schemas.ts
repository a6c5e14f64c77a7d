import Type from 'typebox'

/** Sizes and sequences in paths and queries: decimal, without a sign, as short as can be. Nothing coerces them. */
export const countText = '^(0|[1-9][0-9]{0,15})$'

export const sequenceSchema = Type.Integer({ minimum: 0, description: 'Place of an event in the log, from 0.' })

const hashPattern = '^[A-Za-z0-9+/]{43}=$'

export const leafHashSchema = Type.String({
  pattern: hashPattern,
  description: 'base64 of SHA-256(0x00 ‖ event), as in the receipt of the call.',
})

export const pathSchema = Type.Array(Type.String({ pattern: hashPattern }), {
  description: 'Hashes of the tree in the order of RFC 9162, base64.',
})

export const noteSchema = Type.String({
  title: 'Checkpoint',
  description:
    'Signed note (C2SP signed-note) over size and root of the log (C2SP tlog-checkpoint). Check its signature with a ' +
    'verifier key that you got in another way.',
})

const hash = 'lPZPbHoePxOiUqSgWaLzYAzGbBnSsZPfyTy7Vx1p2mQ='
const noteOf = (size: number) =>
  `tokenvault/default\n${size}\n${hash}\n\n— tokenvault/default 1yrBoXm7VVGc0yE9a5dSxTkqj0Vb5sEl8ZB3zFz0pT0rY2x1Pv7iV7YV1yqJkq0jv7X0m7cQ2l3yq6o2m1f8b0s0Dg8=\n`

export const exampleEvent = {
  sequence: 41,
  leafHash: hash,
  format: 2,
  type: 'detokenize',
  at: '2026-03-01T09:14:07.512Z',
  requestId: '0c5cbdb0-4d5f-4c53-9b52-3a3d1c5d2b6e',
  issuer: 'https://issuer.example',
  subject: 'casey',
  roles: ['investigator'],
  client: 'case-desk',
  actor: { subject: 'case-desk-backend' },
  jwt: '7kG6fSqZiOFt3Fu2h2Mlmw',
  channel: 'http',
  purpose: 'fraud_investigation',
  decision: 'permitted',
  requested: 1,
  granted: 1,
  fields: { ip: { requested: 1, granted: 1, level: 'full' } },
}

export const exampleCheckpoint = {
  origin: 'tokenvault/default',
  treeSize: 42,
  note: noteOf(42),
  verifierKey: 'tokenvault/default+d72ac1a1+AXrZ3H2m0o8m5wJm3hQx2Cq0m5n8u5h0wq2y3f3m1b4k',
  handOvers: [],
}

export const exampleInclusion = {
  sequence: 41,
  event: '{"format":2,"type":"detokenize","at":"2026-03-01T09:14:07.512Z"}',
  leafHash: hash,
  path: [hash],
  checkpoint: noteOf(42),
}

export const exampleConsistency = { from: noteOf(40), to: noteOf(42), path: [hash, hash] }
