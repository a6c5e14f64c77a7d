import { type Command, Option } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { formatKeyName, type KeyName, type KeyPurpose } from '../../vault/keys/keyset.ts'
import { checkRemovable } from '../../vault/keys/lifecycle.ts'
import type { KeyRecord } from '../../vault/keys/ports.ts'
import type { RecoveryState } from '../../vault/keys/recovery.ts'
import { awaitFollowers, nameFollower, refuseLaggards, takeUpSeconds } from '../local/await-followers.ts'
import { withKeyAdministrator } from '../local/key-administrator.ts'
import { dataDirOption, environmentHelp, wholeNumber } from '../terminal/options.ts'
import { type Output, tell } from '../terminal/tell.ts'
import { formatTextTable } from '../terminal/text-table.ts'
import { addKeysReseal } from './keys-reseal.ts'
import { addKeysRetokenize } from './keys-retokenize.ts'
import { afterRotation, rotatingPurposes } from './keys-rotation.ts'
import { status } from './keys-status.ts'
import { addKeysTokens } from './keys-tokens.ts'

/** `tokenvault keys …`: what an administrator does with the keys of the vault. */
export function configure(keys: Command): void {
  const add = (usage: string, description: string) =>
    keys
      .command(usage)
      .description(description)
      .option('--json', 'print one JSON line', false)
      .addOption(dataDirOption())
  add('list', 'list all keys: state, age and KEK')
    .option('--count', 'also count what each sealed, which reads all originals', false)
    .action(list)
  add('status', 'show which keys write, how old they are, and whether every running process goes by them').action(
    status,
  )
  add('create', 'make a key that all processes learn to read, and that writes nothing before `rotate`')
    .addOption(new Option('--kind <kind>', 'which key').choices([...rotatingPurposes]).makeOptionMandatory())
    .option('--field <field>', 'of a data key: its field')
    .option('--dry-run', 'only say what would be done', false)
    .action(create)
  add('rotate', 'make a new primary key; the one before it goes on reading')
    .addOption(new Option('--kind <kind>', 'which keys').choices([...rotatingPurposes]).makeOptionMandatory())
    .option(
      '--field <field>',
      'of data keys: that of one field, of all fields when absent; of token keys the one field',
    )
    .option('--force', 'do not wait for processes that do not take up the new key', false)
    .option(
      '--revoked',
      'of the signing key: others may have the earlier one, so say that it is believed only with proof',
      false,
    )
    .option('--dry-run', 'only say what would be done', false)
    .action(rotate)
  addKeysReseal(keys)
  addKeysRetokenize(keys)
  addKeysTokens(keys, parseKeyName)
  add('disable <key>', 'take a key out of use: what it sealed is not opened until it is enabled')
    .option('--dry-run', 'only count what would not be opened', false)
    .action(disable)
  add('enable <key>', 'take a disabled key back into use; a destruction that was scheduled is called off').action(
    enable,
  )
  add('destroy [key]', 'schedule the destruction of a key, or with --due destroy those whose time has come')
    .option('--days <days>', 'how long it can still be called off', wholeNumber(0, 3650), 30)
    .option(
      '--force-unreadable <count>',
      'how many originals or bodies may become unreadable: the number that is told',
      wholeNumber(0, 999_999_999_999),
      0,
    )
    .option('--due', 'destroy the keys whose time has come; to be run every day', false)
    .option('--dry-run', 'only count what would be lost', false)
    .action(destroy)
  add('rewrap', 'put all keys under the key-encryption key that NEXT_KEK_PROVIDER names')
    .option('--dry-run', 'only say what would be done', false)
    .action(rewrap)
  keys.addHelpText(
    'after',
    `\nDATABASE_URL is that of \`tokenvault migrate\`. A key is named as \`keys list\` shows it: data/ip/v1, audit//v1.\n${environmentHelp('migrate')}`,
  )
}

type KeyOptions = Output & { readonly dataDir: string }

async function list({ count, dataDir, ...output }: KeyOptions & { readonly count: boolean }): Promise<void> {
  await withKeyAdministrator(dataDir, async administrator => {
    const records = await administrator.list()
    const described = []
    for (const record of records) {
      const isCounted = count && record.status !== 'destroyed' && !['audit', 'signing'].includes(record.purpose)
      described.push({
        ...describe(record),
        ...(isCounted ? { content: await administrator.countContent(record) } : {}),
      })
    }
    const header = ['key', 'status', 'days', 'kek', 'destroyed after', ...(count ? ['content'] : [])]
    const rows = described.map(key => {
      const shown = [key.key, key.status, String(key.ageDays), key.kekId, key.destroyAfter?.slice(0, 10) ?? '']
      return count ? [...shown, String(key.content ?? '')] : shown
    })
    const { state, recovery } = await administrator.readRecovery()
    const madeAt = recovery?.madeAt.toISOString()
    const recipients = recovery?.recipients ?? []
    tell(output, { keys: described, recovery: { state, recipients, ...(madeAt && { madeAt }) } }, [
      formatTextTable(header, rows),
      describeRecovery(state, recipients.length),
    ])
  })
}

function describeRecovery(state: RecoveryState, recipients: number): string {
  const mend = '`tokenvault migrate` with RECOVERY_RECIPIENTS makes it'
  const says: Readonly<Record<RecoveryState, string>> = {
    current: `recovery: ${recipients} recipients can open all of these keys without the KEK`,
    none: `recovery: none is stored; ${mend}`,
    not_configured: 'recovery: no recipients; whoever loses the KEK loses every value (RECOVERY_RECIPIENTS)',
    keys_outdated: `recovery: OUTDATED, keys were changed since; ${mend}`,
    recipients_outdated: `recovery: OUTDATED, made for other recipients than RECOVERY_RECIPIENTS names; ${mend}`,
  }
  return says[state]
}

function describe(record: KeyRecord) {
  const { status, kekId, createdAt, primarySince, destroyAfter, unreadable, destroyedAt } = record
  return {
    key: formatKeyName(record),
    status,
    kekId,
    ageDays: Math.floor((Date.now() - createdAt.getTime()) / 86_400_000),
    createdAt: createdAt.toISOString(),
    ...(primarySince && { primarySince: primarySince.toISOString() }),
    ...(destroyAfter && { destroyAfter: destroyAfter.toISOString(), unreadable }),
    ...(destroyedAt && { destroyedAt: destroyedAt.toISOString() }),
  }
}

interface RotateOptions extends KeyOptions {
  readonly kind: (typeof rotatingPurposes)[number]
  readonly field?: string
  readonly force: boolean
  readonly revoked: boolean
  readonly dryRun: boolean
}

async function create({
  kind,
  field = '',
  dryRun,
  dataDir,
  ...output
}: Omit<RotateOptions, 'force' | 'revoked'>): Promise<void> {
  if ((kind === 'data' || kind === 'token') !== (field !== ''))
    throw new TokenvaultError('usage', '--field goes with --kind data or token')
  await withKeyAdministrator(dataDir, async administrator => {
    const place = { purpose: kind, field }
    const name = formatKeyName(dryRun ? await administrator.nextName(place) : await administrator.create(place))
    tell(output, { ...(dryRun && { dryRun }), created: name }, [
      dryRun ? `${name} would be made` : `${name} is there; \`tokenvault keys rotate\` has it write`,
    ])
  })
}

async function rotate({ kind, field, force, revoked, dryRun, dataDir, ...output }: RotateOptions): Promise<void> {
  if (revoked && kind !== 'signing') throw new TokenvaultError('usage', '--revoked goes with --kind signing')
  if (field !== undefined && kind !== 'data' && kind !== 'token')
    throw new TokenvaultError('usage', '--field goes with --kind data or token')
  if (kind === 'token' && field === undefined)
    throw new TokenvaultError('usage', '--kind token needs --field: every token of that field is going to change')
  await withKeyAdministrator(dataDir, async administrator => {
    const records = await administrator.list()
    const fields = new Set(records.filter(({ purpose }) => purpose === kind).map(record => record.field))
    if (field !== undefined && !fields.has(field))
      throw new TokenvaultError('key_unknown', `no such field has a ${kind} key`)
    const places = (field === undefined ? [...fields] : [field]).map(field => ({ purpose: kind, field }))
    if (dryRun) {
      const named = places.map(({ purpose, field }) => `${purpose}/${field}`)
      const told = named.map(name => `${name} would get a new primary key`)
      if (kind !== 'token') return tell(output, { dryRun, rotated: named }, told)
      const primary = records.find(
        record => record.purpose === kind && record.field === field && record.status === 'primary',
      )
      const originals = primary === undefined ? 0 : await administrator.countContent(primary)
      return tell(output, { dryRun, rotated: named, originals }, [
        ...told,
        `and then the tokens of ${originals} values, in every row that has one, would be replaced`,
      ])
    }
    const made: KeyName[] = []
    for (const place of places) made.push(await administrator.create(place))
    // First all processes learn to read it, then they write with it.
    if (!output.json) process.stderr.write(`${takeUpSeconds} seconds or more, until every process has the new key\n`)
    const laggards = await awaitFollowers(administrator)
    if (!force) refuseLaggards(laggards)
    for (const name of made) await administrator.promote(name, revoked ? 'revoked' : 'routine')
    const names = made.map(formatKeyName)
    tell(output, { rotated: names }, [...names.map(name => `${name} is the primary key`), ...afterRotation[kind]])
  })
}

async function disable(
  key: string,
  { dryRun, dataDir, ...output }: KeyOptions & { readonly dryRun: boolean },
): Promise<void> {
  const name = parseKeyName(key)
  checkRemovable(name, 'disable')
  await withKeyAdministrator(dataDir, async administrator => {
    if (dryRun) {
      const content = await administrator.countContent(name)
      return tell(output, { dryRun, key, content }, [`what ${content} originals or bodies hold would not be opened`])
    }
    await administrator.disable(name)
    const laggards = (await awaitFollowers(administrator, { leastSeconds: 0 })).map(nameFollower)
    if (laggards.length > 0) process.exitCode = 1
    tell(output, { disabled: key, notFollowing: laggards }, [
      `${key} is disabled`,
      ...(laggards.length === 0
        ? [`a process that is starting stops using it within ${takeUpSeconds} seconds`]
        : laggards.map(name => `${name} STILL USES IT: its log says why; stop it`)),
    ])
  })
}

async function enable(key: string, { dataDir, ...output }: KeyOptions): Promise<void> {
  const name = parseKeyName(key)
  await withKeyAdministrator(dataDir, async administrator => {
    await administrator.enable(name)
    tell(output, { enabled: key }, [`${key} reads again`])
  })
}

interface DestroyOptions extends KeyOptions {
  readonly days: number
  readonly forceUnreadable: number
  readonly due: boolean
  readonly dryRun: boolean
}

async function destroy(key: string | undefined, options: DestroyOptions): Promise<void> {
  const { days, forceUnreadable, due, dryRun, dataDir } = options
  if ((key === undefined) !== due) throw new TokenvaultError('usage', 'name a key, or give --due')
  if (key === undefined) return destroyDue(options)
  const name = parseKeyName(key)
  checkRemovable(name, 'destroy')
  await withKeyAdministrator(dataDir, async administrator => {
    if (dryRun) {
      const content = await administrator.countContent(name)
      return tell(options, { dryRun, key, content }, [`${content} originals or bodies would become unreadable`])
    }
    const after = new Date(Date.now() + days * 86_400_000)
    await administrator.scheduleDestruction(name, after, forceUnreadable)
    tell(options, { scheduled: key, destroyAfter: after.toISOString() }, [
      `${key} is disabled, and is destroyed by \`tokenvault keys destroy --due\` after ${after.toISOString()}`,
      `until then \`tokenvault keys enable ${key}\` calls it off`,
    ])
  })
}

async function destroyDue({ dataDir, ...output }: KeyOptions): Promise<void> {
  await withKeyAdministrator(dataDir, async administrator => {
    const { destroyed, inUse } = await administrator.destroyDue()
    if (inUse.length > 0) process.exitCode = 1
    const [names, left] = [destroyed.map(formatKeyName), inUse.map(formatKeyName)]
    tell(output, { destroyed: names, inUse: left }, [
      ...(names.length === 0 ? ['no key was destroyed'] : names.map(name => `${name} is destroyed`)),
      ...left.map(name => `${name} is left: more would become unreadable than was said; re-seal, or schedule it anew`),
    ])
  })
}

async function rewrap({ dryRun, dataDir, ...output }: KeyOptions & { readonly dryRun: boolean }): Promise<void> {
  await withKeyAdministrator(dataDir, async administrator => {
    if (dryRun) {
      const count = (await administrator.list()).filter(({ status }) => status !== 'destroyed').length
      return tell(output, { dryRun, count }, [`${count} keys would be put under the next KEK`])
    }
    const { count, kekId } = await administrator.rewrap()
    tell(output, { rewrapped: count, kekId }, [
      `${count} keys are under ${kekId}`,
      'Give every process this key-encryption key as its own (KEK_… in place of NEXT_KEK_…), then retire the earlier one.',
    ])
  })
}

const keyShape = /^(token|data|quarantine|audit|signing)\/([a-z][a-z0-9_]{0,31})?\/v([1-9][0-9]{0,8})$/

function parseKeyName(text: string): KeyName {
  const match = keyShape.exec(text)
  if (match === null)
    throw new TokenvaultError('usage', 'a key is named as `tokenvault keys list` shows it: data/ip/v1')
  return { purpose: match[1] as KeyPurpose, field: match[2] ?? '', version: Number(match[3]) }
}
