import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { armor, Encrypter, generateIdentity, identityToRecipient } from 'age-encryption'
import t, { type Test } from 'tap'
import { encryptToRecipients, openAgeKek } from '../../src/kms/age.ts'
import { createHeldKek } from '../../src/kms/held-key.ts'
import { openLocalKek } from '../../src/kms/local.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'

const key = new Uint8Array(32).fill(5)
const { id } = createHeldKek('test', new Uint8Array(key))

function secretFile(t: Test, content: string | Uint8Array): string {
  const path = join(temporaryDirectory(t), 'secret')
  writeFileSync(path, content, { mode: 0o600 })
  return path
}

async function identityFile(t: Test, identity: string): Promise<string> {
  return secretFile(t, `# created: 2026-11-30\n# public key: ${await identityToRecipient(identity)}\n${identity}\n`)
}

t.test('a KEK that is encrypted to recipients opens with the identity of any of them', async t => {
  const identities = await Promise.all([generateIdentity(), generateIdentity()])
  const recipients = await Promise.all(identities.map(identityToRecipient))
  const text = await encryptToRecipients(key, recipients)
  t.match(text, /^-----BEGIN AGE ENCRYPTED FILE-----\n/)
  const path = secretFile(t, text)
  for (const identity of identities) {
    const kek = await openAgeKek(path, await identityFile(t, identity))
    t.equal(kek.id, id, 'the same bytes are the same KEK, wherever they lie')
  }
  const binary = secretFile(t, armor.decode(text))
  t.equal((await openAgeKek(binary, await identityFile(t, identities[0]!))).id, id, 'without armor too')
})

t.test('what does not open is refused, and nothing of a secret is repeated', async t => {
  const identity = await generateIdentity()
  const other = await generateIdentity()
  const text = await encryptToRecipients(key, [await identityToRecipient(identity)])
  const path = secretFile(t, text)
  const good = await identityFile(t, identity)
  const changed = armor.decode(text)
  changed[changed.length - 1]! ^= 1
  const long = new Encrypter()
  long.addRecipient(await identityToRecipient(identity))
  const wrong: [string, string, RegExp][] = [
    [path, await identityFile(t, other), /no identity of KEK_IDENTITY_FILE opens KEK_FILE/],
    [secretFile(t, changed), good, /no identity/],
    [secretFile(t, text.slice(0, 120)), good, /no identity/],
    [secretFile(t, await long.encrypt(new Uint8Array(33))), good, /holds 33 bytes, not 32/],
    [secretFile(t, key), good, /not encrypted with age/],
    [path, secretFile(t, '# nothing here\n'), /holds no identity/],
    [path, secretFile(t, `${identity.slice(0, -1)}\n`), /a line that is not an identity/],
    [path, join(temporaryDirectory(t), 'missing'), /KEK_IDENTITY_FILE cannot be read \(ENOENT\)/],
  ]
  for (const [file, identities, says] of wrong) {
    const error = await openAgeKek(file, identities).then(
      () => undefined,
      reason => reason,
    )
    t.match(error, { code: 'kek_unavailable', message: says }, String(says))
    t.notMatch(error?.message, identity.slice(15, 30))
  }
  chmodSync(good, 0o666)
  await t.rejects(openAgeKek(path, good), { code: 'kek_unavailable', message: /KEK_IDENTITY_FILE is open to others/ })
  t.throws(() => openLocalKek(path), { code: 'kek_unavailable', message: /KEK_IDENTITY_FILE/ }, 'an identity is needed')
})

t.test('only recipients are recipients', async t => {
  const identity = await generateIdentity()
  const error = await encryptToRecipients(key, [identity]).then(
    () => undefined,
    reason => reason,
  )
  t.match(error, { code: 'usage', message: /recipient 1 is not a recipient of age/ })
  t.notMatch(error?.message, identity, 'an identity given by mistake is not repeated')
})
