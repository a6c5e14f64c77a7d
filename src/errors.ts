/**
 * Every failure that tokenvault names. A code is part of the public contract: it is never renamed or reused.
 * `meaning` and `remedy` are shown to people and in the OpenAPI document, so neither may ever hold a value.
 */
export const errorCatalogue = {
  // Start-up: configuration and keys.
  config_invalid: {
    meaning: 'The configuration is wrong or incomplete.',
    remedy: 'Correct every problem that is listed, then start again. Nothing was started.',
  },
  kek_unavailable: {
    meaning: 'The key-encryption key cannot be read, or whoever holds it does not answer.',
    remedy:
      'Mend what the message names: the file (exactly 32 bytes that only its owner, or its owner and group, can read), the command, or the key in KMS and the rights on it. Nothing was started.',
  },
  kek_mismatch: {
    meaning: 'A stored key cannot be unwrapped with this key-encryption key.',
    remedy: 'Start with the key-encryption key that wrapped the stored keys. Nothing was started or changed.',
  },
  keyset_incomplete: {
    meaning: 'The keyset lacks a primary key that this process needs.',
    remedy:
      'For a new vault, run `tokenvault migrate`, which makes the first keys. For a vault in use, restore the keys table from a backup.',
  },
  keyset_invalid: {
    meaning: 'The keyset is inconsistent.',
    remedy:
      'Restore the keys table from a backup. A valid keyset holds each version once and one primary key for each purpose.',
  },
  field_changed: {
    meaning: 'A field is configured otherwise than its tokens were made: equal values would get other tokens.',
    remedy: 'Put back in FIELDS_FILE what is named, or configure a new field under a new name. Nothing was started.',
  },
  key_unknown: {
    meaning: 'There is no such key.',
    remedy: 'Name a key as `tokenvault keys list` shows it: data/ip/v1.',
  },
  key_state_invalid: {
    meaning: 'The key is in a state in which this cannot be done with it.',
    remedy:
      'Look at its state with `tokenvault keys list`. The primary key writes: rotate it first. What is destroyed stays so.',
  },
  key_in_use: {
    meaning: 'What is sealed under the key would become unreadable for ever.',
    remedy:
      'Re-seal it first with `tokenvault keys reseal`. If it is meant to be lost, give the number that the message names to --force-unreadable.',
  },
  keys_changed: {
    meaning: 'Somebody else changed the keys at the same time.',
    remedy: 'Look at `tokenvault keys list`, and decide again. Nothing was changed.',
  },
  keys_not_followed: {
    meaning: 'A running process does not go by the stored keys yet, and could not read what a new key seals.',
    remedy:
      'Look at `tokenvault keys status` and at the log of the process that it names: keys_not_followed says why. Then run the same command again: it goes on with the key that was made. --force does not wait for it.',
  },
  token_move_unfinished: {
    meaning: 'Tokens of the field are still being replaced after the last rotation of its token key.',
    remedy:
      'End it first with `tokenvault keys retokenize`, which can be started again at any time. Nothing was changed.',
  },
  retokenize_running: {
    meaning: 'Another job replaces tokens of the field.',
    remedy: 'Wait for it to end, or stop it. Nothing was changed.',
  },
  recovery_invalid: {
    meaning: 'The keyset cannot be recovered with what was given.',
    remedy:
      'Give the identity of one of the recovery recipients of that time, or with --recovery the file that was published beside the checkpoints. Nothing was changed.',
  },
  dump_invalid: {
    meaning: 'The dump cannot be restored.',
    remedy:
      'Correct what is named. A plain dump is made by `pg_dump --file=FILE`, without --create and --clean. Nothing was restored.',
  },
  recovery_stopped: {
    meaning: 'The recovery was stopped before its end.',
    remedy: 'Run the same command again: what was restored is found, and what was not is restored.',
  },
  recovery_target_used: {
    meaning: 'The database to restore into is in use already.',
    remedy: 'Name an empty database or data directory. To go on with a restore that was cut short, give the same dump.',
  },
  migration_failed: {
    meaning: 'A database migration failed and was rolled back.',
    remedy:
      'Look up the migration and the SQLSTATE that are named, correct the cause, and run `tokenvault migrate` again.',
  },
  store_unavailable: {
    meaning: 'The database cannot be reached, or it cannot do its work now.',
    remedy: 'Check DATABASE_URL and the server, then try again.',
  },
  store_misconfigured: {
    meaning: 'The database lacks something that only an operator can mend.',
    remedy:
      'Correct what is named: run `tokenvault migrate` of this release where the schema, a function or a grant is wrong, or correct DATABASE_URL where the login or TLS is.',
  },
  store_refused: {
    meaning: 'The database refused the data of a statement.',
    remedy: 'The schema was changed, or tokenvault has a fault. Report the SQLSTATE.',
  },
  people_off: {
    meaning: 'This API answers nothing about people: it was started without a database login for that.',
    remedy: 'Set PRIVACY_DATABASE_URL to the login of role tokenvault_privacy and start the API again.',
  },
  person_unknown: {
    meaning: 'No row is of this user id.',
    remedy:
      'Send the user id byte for byte as the producer wrote it. Where it has letters with marks, send its other Unicode form (NFC or NFD).',
  },
  person_held: {
    meaning: 'The data of this person is under a legal hold.',
    remedy: 'Wait until the hold ends, or have it released: `tokenvault person release`.',
  },
  person_not_held: {
    meaning: 'There is no legal hold on the data of this person.',
    remedy: 'Show the person to see what holds there are.',
  },
  person_too_large: {
    meaning: 'The data of this person is more than one answer can hold.',
    remedy: 'Ask for one month at a time.',
  },
  person_report_invalid: {
    meaning: 'The report about a person is not what the vault signed.',
    remedy: 'Get the report again from whoever made it, and check the key that it is checked with.',
  },
  storing_off: {
    meaning: 'This API stores no values: it was started without a database login for that.',
    remedy:
      'Set STORE_DATABASE_URL to the login of role tokenvault_store and start the API again. To look a token up without storing, send "store": false.',
  },
  table_unsuitable: {
    meaning: 'The table or column cannot be backfilled as it is.',
    remedy: 'Correct what is named, then run the command again. No row was changed.',
  },
  backfill_running: {
    meaning: 'Another backfill of the column is running.',
    remedy: 'Let it end, or stop it and run the command again: it goes on where the other one ended.',
  },
  queue_unavailable: {
    meaning: 'The queue cannot be reached, or it refused the call.',
    remedy: 'Check SQS_QUEUE_URL, AWS_ENDPOINT_URL_SQS, the region and the credentials, then try again.',
  },
  event_invalid: {
    meaning: 'The function was invoked with an event that is not from SQS.',
    remedy: 'Invoke it through an SQS event source mapping. No message was deleted.',
  },
  worker_failed: {
    meaning: 'A worker process ended several times in a row right after its start.',
    remedy:
      'Read its last log lines, correct the cause, and start the worker again. No message is lost in the meantime.',
  },
  embedded_failed: {
    meaning: 'An embedded server did not start.',
    remedy: 'Read the named log file in the data directory.',
  },
  already_running: {
    meaning: 'Another tokenvault process uses this data directory.',
    remedy: 'Stop that process, or choose another directory with --data-dir.',
  },
  not_running: {
    meaning: 'No tokenvault runs on this data directory.',
    remedy: 'Start it with `npm start`, or name the directory on which it runs with --data-dir.',
  },
  port_unavailable: {
    meaning: 'The requested port is in use.',
    remedy: 'Stop the program that uses it, or pass --port 0 to take free ports.',
  },
  input_invalid: {
    meaning: 'The input file is not a JSON array of events.',
    remedy: 'Pass --input a readable file that holds one JSON array.',
  },
  archive_unavailable: {
    meaning: 'The place of the archive cannot be reached, or a file is missing there.',
    remedy: 'Make the place answer, and run the command again. Every row is still where it was.',
  },
  archive_changed: {
    meaning: 'A manifest or a file of the archive is not as it was written.',
    remedy: 'Restore what is named from a backup of the bucket or directory. Nothing was brought back.',
  },
  archive_running: {
    meaning: 'Another archive, recall or rewriting is running.',
    remedy: 'Wait until it has ended, and run the command again.',
  },
  archive_tokens_moving: {
    meaning:
      'Tokens are being replaced after a rotation of their token key, and rows that are moved meanwhile would be missed.',
    remedy: 'End it first with `tokenvault keys retokenize`, then run the command again. Nothing was moved.',
  },
  month_not_archived: {
    meaning: 'No archived rows of this month are left to bring back.',
    remedy: 'Look at analyst.archived_months: where its state is recalled, the rows are in the database.',
  },
  import_file_invalid: {
    meaning: 'The file cannot be imported as it is.',
    remedy: 'Correct what is named, and run the command again. Nothing was stored.',
  },
  import_refused: {
    meaning: 'The API does not permit the import.',
    remedy: 'Nothing was stored.',
  },
  import_running: {
    meaning: 'Another import is writing this result.',
    remedy: 'Wait until it has ended, or name another result with --out.',
  },
  import_changed: {
    meaning: 'The import began with another file, field, column or vault.',
    remedy: 'Run the command with --restart to begin anew; values that are stored already are not stored twice.',
  },
  import_interrupted: {
    meaning: 'The API did not answer for too long.',
    remedy: 'Run the same command again to continue where it stopped.',
  },
  import_values_invalid: {
    meaning: 'Values of the column were refused, so no result was written.',
    remedy: 'Correct these cells and run with --restart, or run with --on-invalid null to leave them empty.',
  },
  import_unproven: {
    meaning: 'It is not proven that the result holds no value of the column.',
    remedy: 'Look at the places that are named, and keep the result from everybody who may not see values.',
  },
  api_unavailable: {
    meaning: 'The API does not answer.',
    remedy: 'Check --url, and check that the API or `tokenvault up` is running.',
  },
  api_refused: {
    meaning: 'The API refused the request.',
    remedy: 'Look up the code in the OpenAPI document at /docs.',
  },
  usage: {
    meaning: 'The command line is not valid.',
    remedy: 'Run the command with --help to see its arguments and options.',
  },
  // Policy and evidence.
  policy_invalid: {
    meaning: 'The policy file is not valid.',
    remedy: 'Correct the line that is named. A running process keeps its current policy.',
  },
  audit_invalid: {
    meaning: 'The audit log was changed, or does not match a checkpoint.',
    remedy: 'Tell the security team, and keep the database unchanged: it is evidence.',
  },
  checkpoint_invalid: {
    meaning: 'The checkpoint is not a signed note of this log, or its signature is wrong.',
    remedy: 'Pass the checkpoint exactly as it was published, and the verifier key of this vault.',
  },
  checkpoint_unavailable: {
    meaning: 'A checkpoint could not be stored outside the database.',
    remedy: 'Check CHECKPOINT_URL, and check that this process may write there.',
  },
  receipt_invalid: {
    meaning: 'The receipt or proof was changed, or is not from this vault.',
    remedy: 'Pass it exactly as the API returned it, with the verifier key of this vault.',
  },
  // Tokens, values and keys.
  key_length_invalid: {
    meaning: 'An AES-SIV key is not 64 bytes long.',
    remedy: 'Use 512-bit AES-SIV keys.',
  },
  key_unavailable: {
    meaning: 'The keyset has no key of this version for the field.',
    remedy: 'Check that the keyset is current and that the key was not destroyed.',
  },
  field_unknown: {
    meaning: 'This vault does not tokenize the field.',
    remedy: 'Use a configured field, such as ip or device_id.',
  },
  value_invalid: {
    meaning: 'The value does not have the form that its field requires.',
    remedy: 'Send a value that the rule of the field accepts, such as an IP address for ip; see docs/normalization.md.',
  },
  value_too_long: {
    meaning: 'The value is longer than its field allows.',
    remedy: 'Send at most as many bytes as the field allows.',
  },
  value_is_token: {
    meaning: 'The value is a token already.',
    remedy: 'Send the original value. A token of a token would equal nothing and lead to no value.',
  },
  value_is_placeholder: {
    meaning: 'The value is a placeholder of its field: it says that there is none.',
    remedy:
      'Look for null in its column: a placeholder has no token. docs/normalization.md lists the placeholders; FIELDS_FILE changes them.',
  },
  token_malformed: {
    meaning: 'The text is not a token.',
    remedy: 'Send tokens exactly as user_logins holds them: <field>_v<version>_<base64url>.',
  },
  token_unknown: {
    meaning: 'The vault has no original for this token.',
    remedy: 'Check that the token is from this vault, and that it was copied exactly.',
  },
  token_retired: {
    meaning: 'The token is of a token key that was retired.',
    remedy: 'Use the token that took its place. Ask your administrators for the map of tokens that they wrote before.',
  },
  token_field_mismatch: {
    meaning: 'The token names one field but identifies a value of another field.',
    remedy: 'Send the token unchanged, including its field prefix.',
  },
  token_not_authentic: {
    meaning: 'The token names another key version than the one it was made under.',
    remedy: 'Send the token unchanged. If it was unchanged, tell the security team: the vault may have been changed.',
  },
  original_not_authentic: {
    meaning: 'The sealed original cannot be opened, or it does not belong to the token.',
    remedy: 'Tell the security team: a row of the vault was changed or swapped.',
  },
  token_field_missing: {
    meaning: 'The token does not say which field it is of: it is a UUID or an address.',
    remedy: 'Send {"field": …, "token": …} with the field whose column holds it.',
  },
  token_collision: {
    meaning: 'The token of a value already stands for another value, so nothing was stored.',
    remedy:
      'Tell the security team: by chance it does not happen to a vault of any size. A value that must be stored all the same needs a field of format text.',
  },
  // Quarantine and dead letters.
  quarantine_unknown: {
    meaning: 'The quarantine has no entry with this id.',
    remedy: 'List the quarantine to find the id.',
  },
  quarantine_settled: {
    meaning: 'The entry was already redriven or discarded, and its body is erased.',
    remedy: 'Nothing is left to do. Show the entry to see its state.',
  },
  quarantine_unreadable: {
    meaning: 'The sealed body cannot be opened: its key is missing, or the row was changed.',
    remedy: 'Check that the quarantine key was not destroyed. If the key exists, tell the security team.',
  },
  dead_letter_queue_missing: {
    meaning: 'The queue has no redrive policy, so it has no dead-letter queue.',
    remedy: 'Give the queue a RedrivePolicy with a dead-letter queue and a maxReceiveCount of about 5.',
  },
  // Requests.
  unauthenticated: {
    meaning: 'The request has no valid access token.',
    remedy:
      'Send one Authorization header with an unexpired JWT from the configured issuer, for the configured audience.',
  },
  jwks_unavailable: {
    meaning: 'The issuer’s public keys cannot be fetched, so no access token can be checked.',
    remedy: 'Wait a moment and try again. If it continues, tell the operator that JWKS_URL does not answer.',
  },
  role_not_permitted: {
    meaning: 'None of the caller’s roles permits the operation.',
    remedy: 'Ask the security team for a role that permits it.',
  },
  field_not_permitted: {
    meaning: 'None of the caller’s roles permits the field.',
    remedy: 'Ask the security team for a role that permits the field.',
  },
  purpose_missing: {
    meaning: 'The request has no purpose.',
    remedy: 'Add a purpose, such as "fraud_investigation".',
  },
  purpose_invalid: {
    meaning: 'The purpose is not a short identifier.',
    remedy:
      'Use 3 to 64 lower-case letters, words joined by _ or -, such as "fraud_investigation". Never put a value in it.',
  },
  purpose_not_permitted: {
    meaning: 'None of the caller’s roles permits this purpose.',
    remedy: 'State a purpose that your role permits, or ask the security team for a role that permits this one.',
  },
  ticket_required: {
    meaning: 'The policy requires a ticket, and the request names none.',
    remedy: 'Add the ticket under which you act, such as "SEC-1234".',
  },
  ticket_invalid: {
    meaning: 'The ticket is not a short identifier.',
    remedy: 'Use 2 to 10 letters, optionally a hyphen, and 1 to 8 digits, such as "SEC-1234". Never put a value in it.',
  },
  batch_over_role_limit: {
    meaning: 'The batch has more items than the caller’s roles allow in one call.',
    remedy: 'Split it into calls with at most the number of items that is named.',
  },
  budget_exceeded: {
    meaning: 'The call would take more values than the caller’s budget allows.',
    remedy: 'Wait as many seconds as Retry-After says, ask for fewer values, or ask the security team.',
  },
  principal_suspended: {
    meaning: 'The caller is suspended: it exceeded a daily budget, or a rule of the policy says so.',
    remedy: 'Ask an administrator to lift the suspension.',
  },
  honey_unknown: {
    meaning: 'There is no such honey token, or it is retired.',
    remedy: 'List the honey tokens to find its id.',
  },
  suspension_unknown: {
    meaning: 'This principal is not suspended.',
    remedy: 'List the suspensions to find issuer and subject.',
  },
  person_erased: {
    meaning: 'This person was erased before, and nothing new is held.',
    remedy: 'Show the certificate of that erasure. There is nothing to do.',
  },
  token_erased: {
    meaning: 'The value of this token was erased with the person it was of.',
    remedy: 'Nothing gives it back. The erasure ledger has the certificate of the erasure.',
  },
  erasure_unknown: {
    meaning: 'The erasure ledger has no entry of this number.',
    remedy: 'Take the number from the reply of the erasure or from its certificate.',
  },
  erasure_invalid: {
    meaning: 'The certificate of an erasure does not prove what it says.',
    remedy: 'Get the certificate again from the API, and the verifier key from a source that you trust.',
  },
  erasure_incomplete: {
    meaning: 'Backups from before the erasure can still be opened.',
    remedy: 'Destroy the keys that are named, put all keys under another KEK, then try again.',
  },
  erasure_ledger_behind: {
    meaning:
      'People were erased after the moment of which this database is: it was restored from a backup, or a standby took over.',
    remedy: 'Run `tokenvault migrate` with CHECKPOINT_URL of the API: it erases them again. Nothing was started.',
  },
  erasure_ledger_conflict: {
    meaning: 'The erasure ledger of the database and the published one are different histories.',
    remedy: 'Find out which database CHECKPOINT_URL belongs to. Nothing was changed.',
  },
  approval_required: {
    meaning: 'The policy requires the approval of a second person.',
    remedy:
      'Wait until an approver has approved the request, then send the same call again with its approvalId. What nobody can approve fits again once enough of the window has passed.',
  },
  approval_unknown: {
    meaning: 'There is no request for approval with this id.',
    remedy: 'List the approvals to find the id.',
  },
  approval_self: {
    meaning: 'Callers cannot decide about their own requests.',
    remedy: 'Ask another approver.',
  },
  approval_settled: {
    meaning: 'The request was already decided, or it expired.',
    remedy: 'Show the request to see its state. To make a new request, send the original call again.',
  },
  approval_unusable: {
    meaning: 'The approval does not cover this call: it is for another call, not approved, already used, or expired.',
    remedy: 'Send exactly the approved call, once and within 15 minutes. To make a new request, leave approvalId out.',
  },
  approvals_too_many: {
    meaning: 'The caller has too many undecided requests for approval.',
    remedy: 'Wait until some of them are decided.',
  },
  idempotency_key_invalid: {
    meaning: 'The Idempotency-Key is not 1 to 255 printable ASCII characters, or was sent twice.',
    remedy: 'Send one key, such as a UUID, in one header.',
  },
  idempotency_key_reused: {
    meaning: 'The Idempotency-Key was used for another request.',
    remedy: 'Use a new key for each operation, and repeat a key only with the same request.',
  },
  idempotency_in_progress: {
    meaning: 'A request with this Idempotency-Key is in progress, or failed less than five minutes ago.',
    remedy: 'Repeat the request with the same key for up to five minutes. With a new key it might take effect twice.',
  },
  audit_event_unknown: {
    meaning: 'The audit log has no event with this sequence, or no checkpoint covers the event yet.',
    remedy: 'Ask for a sequence below the size of the newest checkpoint.',
  },
  batch_empty: {
    meaning: 'The batch is empty.',
    remedy: 'Send at least one item.',
  },
  batch_too_large: {
    meaning: 'The batch has more than 10,000 items.',
    remedy: 'Split it into calls with at most 10,000 items.',
  },
  batch_refused: {
    meaning: 'The call was atomic and at least one item was refused, so nothing is returned.',
    remedy: 'Remove or correct the items that are listed, or leave atomic out.',
  },
  property_unknown: {
    meaning: 'The request has a property that the operation does not know.',
    remedy: 'Correct its name or remove it. Unknown properties are never ignored.',
  },
  request_invalid: {
    meaning: 'The request does not match the operation’s schema.',
    remedy: 'Compare the request with the OpenAPI document at /docs.',
  },
  request_malformed: {
    meaning: 'The request is not valid HTTP, or two readers could understand it differently.',
    remedy:
      'Send one Host header, each header once, and the path exactly as the OpenAPI document has it, without percent-encoding.',
  },
  request_timeout: {
    meaning: 'The request did not arrive in time.',
    remedy: 'Send all headers within 10 seconds and the whole request within 30 seconds.',
  },
  headers_too_large: {
    meaning: 'The headers are larger than 32 KB.',
    remedy: 'Send fewer or shorter headers.',
  },
  body_malformed: {
    meaning: 'The body is not valid JSON.',
    remedy: 'Send one JSON object, encoded in UTF-8.',
  },
  body_too_large: {
    meaning: 'The body is larger than the API accepts.',
    remedy: 'Split the batch into smaller calls.',
  },
  content_type_unsupported: {
    meaning: 'The body’s media type is not application/json in UTF-8.',
    remedy: 'Send Content-Type: application/json.',
  },
  content_encoding_unsupported: {
    meaning: 'The body is compressed or encoded in another way.',
    remedy: 'Send the body as it is, without Content-Encoding.',
  },
  route_not_found: {
    meaning: 'There is no operation at this path.',
    remedy: 'Compare method and path with the OpenAPI document at /docs.',
  },
  method_not_allowed: {
    meaning: 'The path does not support this method.',
    remedy: 'Use a method that the Allow header names.',
  },
  rate_limited: {
    meaning: 'The caller sent too many requests.',
    remedy: 'Wait as many seconds as Retry-After says.',
  },
  overloaded: {
    meaning: 'The server is too busy or is stopping.',
    remedy: 'Wait a moment and try again.',
  },
  audit_unavailable: {
    meaning: 'The audit event could not be committed, so nothing was returned.',
    remedy: 'Try again. If it continues, tell the operator that the audit log cannot be written.',
  },
  internal: {
    meaning: 'An unexpected fault occurred. Its details are not shown here.',
    remedy: 'Give the request id to the operator.',
  },
} as const satisfies Record<string, { meaning: string; remedy: string }>

/** The closed union of stable codes. */
export type ErrorCode = keyof typeof errorCatalogue

/**
 * The one base error. `detail` is written by us and may reach a terminal, a log or a caller, so it names keys,
 * fields, files and counts, and never holds a value that came in.
 */
export class TokenvaultError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, detail?: string, options?: { cause?: unknown }) {
    super(detail ?? errorCatalogue[code].meaning, options)
    this.name = 'TokenvaultError'
    this.code = code
  }

  /** What the reader should do next. */
  get remedy(): string {
    return errorCatalogue[this.code].remedy
  }
}
