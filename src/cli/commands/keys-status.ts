import { formatKeyName } from '../../vault/keys/keyset.ts'
import { findAged, lastRotation } from '../../vault/keys/lifecycle.ts'
import type { KeyRecord } from '../../vault/keys/ports.ts'
import { nameFollower } from '../local/await-followers.ts'
import { withKeyAdministrator } from '../local/key-administrator.ts'
import { type Output, tell } from '../terminal/tell.ts'
import { formatTextTable } from '../terminal/text-table.ts'

/** `tokenvault keys status`: one screen about keys, and the processes that hold them. Exit code 1 where something is to be done. */
export async function status({ dataDir, ...output }: Output & { readonly dataDir: string }): Promise<void> {
  await withKeyAdministrator(dataDir, async administrator => {
    const [records, { followers, laggards }] = [await administrator.list(), await administrator.readFollowers()]
    const now = new Date()
    const primaries = records.filter(({ status }) => status === 'primary')
    const places = primaries.map(primary => describePlace(primary, records, now))
    const late = new Set(laggards)
    const processes = followers.map(follower => ({
      process: nameFollower(follower),
      follows: !late.has(follower),
      lookedSecondsAgo: Math.max(0, Math.round((now.getTime() - follower.lookedAt.getTime()) / 1000)),
    }))
    const due = records.filter(
      ({ status, destroyAfter }) => status === 'disabled' && destroyAfter && destroyAfter < now,
    )
    const { maxAgeDays } = administrator
    const warnings = [
      ...(maxAgeDays === undefined ? [] : findAged(records, maxAgeDays, now)).map(
        record => `${formatKeyName(record)} writes for more than KEY_MAX_AGE_DAYS (${maxAgeDays}): rotate it`,
      ),
      ...due.map(record => `${formatKeyName(record)} is due: tokenvault keys destroy --due`),
      ...laggards.map(follower => `${nameFollower(follower)} does not go by the stored keys: its log says why`),
    ]
    const keks = [...new Set(records.filter(({ status }) => status !== 'destroyed').map(({ kekId }) => kekId))]
    if (warnings.length > 0) process.exitCode = 1
    tell(output, { primaries: places, kekIds: keks, processes, warnings }, [
      formatTextTable(
        ['writes', 'days', 'last rotation', 'others that read', 'disabled'],
        places.map(({ key, days, rotatedAt, active, disabled }) => {
          return [key, String(days), rotatedAt?.slice(0, 10) ?? 'never', String(active), String(disabled)]
        }),
      ),
      `KEK: ${keks.join(', ')}`,
      processes.length === 0
        ? 'no running process has said that it holds these keys'
        : formatTextTable(
            ['process', 'goes by these keys', 'said seconds ago'],
            processes.map(({ process, follows, lookedSecondsAgo }) => {
              return [process, follows ? 'yes' : 'NO', String(lookedSecondsAgo)]
            }),
          ),
      ...warnings.map(warning => `warning: ${warning}`),
    ])
  })
}

function describePlace(primary: KeyRecord, records: readonly KeyRecord[], now: Date) {
  const { purpose, field, createdAt, primarySince = createdAt } = primary
  const versions = records.filter(record => record.purpose === purpose && record.field === field)
  const rotatedAt = lastRotation(versions)?.toISOString()
  return {
    key: formatKeyName(primary),
    days: Math.floor((now.getTime() - primarySince.getTime()) / 86_400_000),
    ...(rotatedAt && { rotatedAt }),
    active: versions.filter(({ status }) => status === 'active').length,
    disabled: versions.filter(({ status }) => status === 'disabled').length,
  }
}
