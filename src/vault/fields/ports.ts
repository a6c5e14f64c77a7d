/** Where it is recorded what makes the tokens of each field. */

/** What may not change once a field has tokens: of two values one would get the token that it had, or of one value two. */
export interface RecordedField {
  readonly name: string
  readonly rule: string
  readonly format: string
  /** Of format `inet` only. */
  readonly inetPrefix: string | null
  /** The field that its values are derived from; null where events have them. */
  readonly derivedFrom: string | null
}

export interface FieldRecordReader {
  /** Every field that was ever configured. @throws `store_unavailable`, `store_misconfigured` */
  readRecordedFields(): Promise<readonly RecordedField[]>
}

export interface FieldRecordWriter extends FieldRecordReader {
  /**
   * Records fields that are new and, while they have no original, fields that were changed; all of them or none. Others stay
   * recorded. @throws `field_changed` for a field that has originals, `store_unavailable`
   */
  recordFields(fields: readonly RecordedField[]): Promise<void>
}
