import t from 'tap'
import { type ErrorCode, errorCatalogue, TokenvaultError } from '../src/errors.ts'

t.test('every code says what happened and what to do next, in whole sentences', async t => {
  const entries = Object.entries(errorCatalogue)
  t.ok(entries.length > 30)
  for (const [code, { meaning, remedy }] of entries) {
    t.match(code, /^[a-z]+(_[a-z]+)*$/)
    // A remedy may end with the shape that a value must have; it then ends with that shape’s own full stop.
    for (const text of [meaning, remedy]) t.match(text, /^[A-Z].{8,}\.$/s, `${code}: ${text}`)
    t.not(meaning, remedy)
  }
  const meanings = entries.map(([, { meaning }]) => meaning)
  t.equal(new Set(meanings).size, meanings.length, 'no two codes mean the same')
})

t.test('an error carries its code, our text and its remedy', async t => {
  const plain = new TokenvaultError('token_unknown')
  t.equal(plain.message, errorCatalogue.token_unknown.meaning)
  t.equal(plain.remedy, errorCatalogue.token_unknown.remedy)
  const cause = new Error('inner')
  const detailed = new TokenvaultError('kek_mismatch', 'key token/ip/v1 does not unwrap', { cause })
  t.match(detailed, { name: 'TokenvaultError', code: 'kek_mismatch', message: 'key token/ip/v1 does not unwrap' })
  t.equal(detailed.cause, cause)
  t.ok(detailed instanceof Error)
})

t.test('codes are never renamed or removed: they are part of the public contract', async t => {
  const promised: ErrorCode[] = [
    'config_invalid',
    'kek_unavailable',
    'kek_mismatch',
    'keyset_incomplete',
    'keyset_invalid',
    'store_unavailable',
    'queue_unavailable',
    'key_unavailable',
    'field_unknown',
    'value_invalid',
    'value_too_long',
    'token_malformed',
    'token_unknown',
    'token_field_mismatch',
    'token_not_authentic',
    'original_not_authentic',
    'unauthenticated',
    'role_not_permitted',
    'field_not_permitted',
    'purpose_missing',
    'purpose_invalid',
    'batch_empty',
    'batch_too_large',
    'batch_refused',
    'audit_unavailable',
    'internal',
  ]
  for (const code of promised) t.ok(Object.hasOwn(errorCatalogue, code), code)
})
