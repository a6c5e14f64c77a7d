import type { ColumnType, Generated } from 'kysely'

/** What the database holds, table by table. A test compares every column with the migrated database. */
export interface Database {
  'ingest.receipts': DeliveryRecordsTable
  'pii_vault.fields': FieldsTable
  'pii_vault.keys': KeysTable
  'pii_vault.originals': OriginalsTable
  'pii_vault.quarantine': QuarantineTable
  'public.user_logins': UserLoginsTable
}

/** Days go in as YYYY-MM-DD and come out as they are written. */
type Day = string
/** Filled by the database and never written by us. */
type CreatedAt = ColumnType<Date, never, never>

/** Null where nothing else is written. */
type Optional<T> = Generated<T | null>
/** A bigint, which comes as text. */
type OptionalCount = ColumnType<string | null, number | null, number | null>

/** Has a default, and is changed by functions of the database only. */
type SetLater<T> = ColumnType<T, never, never>

export interface UserLoginsTable {
  user_id: string
  device_type: string | null
  masked_ip: string | null
  masked_device_id: string | null
  locale: string | null
  app_version: number | null
  create_date: Day
}

export interface DeliveryRecordsTable {
  sent_on: Day
  message_id: string
  rows_stored: number
  rows_quarantined: number
  details_stored: number
  rows_dropped: number
}

export interface KeysTable {
  purpose: 'token' | 'data' | 'quarantine' | 'audit' | 'signing'
  field: string
  version: number
  status: 'primary' | 'active' | 'disabled' | 'destroyed'
  kek_id: string
  /** Null once it was destroyed. */
  wrapped: Uint8Array | null
  created_at: Generated<Date>
  primary_since: Optional<Date>
  destroy_after: Optional<Date>
  unreadable: OptionalCount
  destroyed_at: Optional<Date>
}

export interface OriginalsTable {
  /** Hyphenated when read; 32 bare digits do for writing. */
  token_id: string
  field: string
  token_key_version: number
  data_key_version: number
  sealed: Uint8Array
  created_at: CreatedAt
  siv_rest: number | null
  kept_elsewhere: boolean
  last_seen: Optional<Day>
}

export interface FieldsTable {
  name: string
  rule: string
  format: 'text' | 'uuid' | 'inet'
  inet_prefix: string | null
  derived_from: string | null
  recorded_at: Generated<Date>
}

export interface QuarantineTable {
  id: string
  message_id: string
  event_index: number
  reason: string
  data_key_version: number
  /** Null once it was erased. */
  sealed: Uint8Array | null
  sent_on: Day
  created_at: CreatedAt
  state: SetLater<string>
  redrives: SetLater<number>
  changed_at: CreatedAt
}
