/**
 * Every failure that tokenvault names. A code is part of the public contract: it is never renamed or reused.
 * `meaning` and `remedy` are shown to people and in the OpenAPI document, so neither may ever hold a value.
 */
export const errorCatalogue = {
  // Start-up: configuration and keys.
  config_invalid: {
    meaning: 'The configuration is wrong or incomplete.',
    remedy: 'Correct every problem listed, then start again. Nothing was started.',
  },
  kek_unavailable: {
    meaning: 'The key-encryption key cannot be read.',
    remedy: 'Point KEK_FILE at a file of exactly 32 bytes that only its owner (and group) may read.',
  },
  kek_mismatch: {
    meaning: 'A stored key does not unwrap under this key-encryption key.',
    remedy: 'Start with the key-encryption key that wrapped the stored keys. Nothing was started or changed.',
  },
  keyset_incomplete: {
    meaning: 'The keyset holds no primary key for a purpose that needs one.',
    remedy:
      'In a new vault run `tokenvault migrate`, which makes the first keys. In one that was in use restore the keys table from a backup.',
  },
  keyset_invalid: {
    meaning: 'The keyset breaks one of its own rules.',
    remedy: 'Restore the keys table from a backup; a keyset never holds one version twice or two primaries.',
  },
  migration_failed: {
    meaning: 'A database migration did not complete; it was rolled back.',
    remedy: 'Read the named migration and SQLSTATE, correct the cause, and run `tokenvault migrate` again.',
  },
  store_unavailable: {
    meaning: 'The database cannot be reached or refused the statement.',
    remedy: 'Check DATABASE_URL, the role and the server, then try again.',
  },
  store_refused: {
    meaning: 'The database refused the data of a statement.',
    remedy: 'This is a fault of tokenvault or of a changed schema: read the SQLSTATE, and report it.',
  },
  queue_unavailable: {
    meaning: 'The queue cannot be reached or refused the call.',
    remedy: 'Check SQS_QUEUE_URL, AWS_ENDPOINT_URL_SQS, the region and the credentials, then try again.',
  },
  event_invalid: {
    meaning: 'The function was invoked with something that is no SQS event.',
    remedy: 'Invoke it through an SQS event source mapping. No message was deleted.',
  },
  worker_failed: {
    meaning: 'A worker process ends again and again as soon as it is started.',
    remedy: 'Read its last lines in the log, correct the cause, and start the worker again. Nothing is lost meanwhile.',
  },
  embedded_failed: {
    meaning: 'An embedded server did not start.',
    remedy: 'Read the named log file in the data directory.',
  },
  already_running: {
    meaning: 'Another tokenvault uses this data directory.',
    remedy: 'Stop it first, or give another --data-dir.',
  },
  port_unavailable: {
    meaning: 'A port that was asked for is in use.',
    remedy: 'Stop what uses it, or give --port 0 for free ports.',
  },
  input_invalid: {
    meaning: 'The input file is not a JSON array of events.',
    remedy: 'Give --input a readable file that holds one JSON array.',
  },
  api_unavailable: {
    meaning: 'The API does not answer.',
    remedy: 'Check --url, and that the API or `tokenvault up` runs.',
  },
  api_refused: {
    meaning: 'The API refused the request.',
    remedy: 'Look its code up in the OpenAPI document at /docs.',
  },
  usage: {
    meaning: 'The command line is wrong.',
    remedy: 'Run the command with --help.',
  },
  // Policy and evidence.
  policy_invalid: {
    meaning: 'The policy file is wrong.',
    remedy: 'Correct the line that is named. A running process keeps the policy it has.',
  },
  audit_invalid: {
    meaning: 'The audit log was altered, or does not match a checkpoint.',
    remedy: 'Tell the security team and keep the database as it is: it is evidence.',
  },
  checkpoint_invalid: {
    meaning: 'The checkpoint is no signed note of this log, or its signature is wrong.',
    remedy: 'Give the checkpoint as it was published, and the verifier key of this vault.',
  },
  checkpoint_unavailable: {
    meaning: 'A checkpoint could not be kept outside the database.',
    remedy: 'Check CHECKPOINT_URL, and that this process may write there.',
  },
  receipt_invalid: {
    meaning: 'The receipt or proof is not one of this vault, or was changed.',
    remedy: 'Give it as the API answered it, with the verifier key of this vault.',
  },
  // Tokens, values and keys.
  key_length_invalid: {
    meaning: 'An AES-SIV key has a length other than 64 bytes.',
    remedy: 'Use 512-bit AES-SIV keys only.',
  },
  key_unavailable: {
    meaning: 'No key of the named version is held for the field.',
    remedy: 'Check that the key was not destroyed and that the keyset is current.',
  },
  field_unknown: {
    meaning: 'The field is not one that this vault tokenizes.',
    remedy: 'Use a field of the configured schema, such as ip or device_id.',
  },
  value_invalid: {
    meaning: 'The value is not of the shape its field asks for.',
    remedy: 'Send a value that the rule of its field takes, such as an IP address for ip; see docs/normalization.md.',
  },
  value_too_long: {
    meaning: 'The value is longer than its field allows.',
    remedy: 'Send at most the number of bytes that the field allows.',
  },
  token_malformed: {
    meaning: 'The text is not a token.',
    remedy: 'Send tokens exactly as they stand in user_logins: <field>_v<version>_<base64url>.',
  },
  token_unknown: {
    meaning: 'The vault holds no original for the token.',
    remedy: 'Check that the token came from this vault and that its person was not erased.',
  },
  token_field_mismatch: {
    meaning: 'The token names one field but identifies a value of another.',
    remedy: 'Send the token unchanged; its field prefix is part of it.',
  },
  token_not_authentic: {
    meaning: 'The token was changed, or was not minted by this vault.',
    remedy: 'Send the token unchanged. If it is unchanged, tell the security team: the vault may have been altered.',
  },
  original_not_authentic: {
    meaning: 'The sealed original does not open, or opens to another value than the token stands for.',
    remedy: 'Tell the security team: a row of the vault was altered or swapped.',
  },
  // Quarantine and dead letters.
  quarantine_unknown: {
    meaning: 'The quarantine holds no entry of this id.',
    remedy: 'List the quarantine and take an id from there.',
  },
  quarantine_settled: {
    meaning: 'The entry was redriven or discarded before; its body is erased.',
    remedy: 'Nothing is left to do with it. Show it to see what became of it.',
  },
  quarantine_unreadable: {
    meaning: 'The sealed body does not open: its key is not held, or the row was altered.',
    remedy: 'Check that the quarantine key was not destroyed; otherwise tell the security team.',
  },
  dead_letter_queue_missing: {
    meaning: 'The queue has no redrive policy, so it has no dead-letter queue.',
    remedy: 'Give the queue a RedrivePolicy with a dead-letter queue and a maxReceiveCount of about 5.',
  },
  // Requests.
  unauthenticated: {
    meaning: 'The request carries no acceptable access token.',
    remedy: 'Send one Authorization header with a current JWT of the configured issuer and audience.',
  },
  jwks_unavailable: {
    meaning: 'The issuer’s public keys cannot be fetched, so no access token can be checked.',
    remedy: 'Try again after a short wait; if it lasts, tell the operator that JWKS_URL does not answer.',
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
    meaning: 'The request states no purpose.',
    remedy: 'Add a purpose, such as "fraud_investigation".',
  },
  purpose_invalid: {
    meaning: 'The purpose is not a short identifier.',
    remedy:
      'Use 3 to 64 lower-case letters, words joined by _ or -, such as "fraud_investigation". Never put a value in it.',
  },
  purpose_not_permitted: {
    meaning: 'None of the caller’s roles permits this purpose.',
    remedy: 'State the purpose you have, or ask the security team for a role that permits it.',
  },
  ticket_required: {
    meaning: 'The policy asks for a ticket, and the request names none.',
    remedy: 'Add the ticket under which you act, such as "SEC-1234".',
  },
  ticket_invalid: {
    meaning: 'The ticket is not a short identifier.',
    remedy: 'Use 2 to 10 letters, optionally a hyphen, and 1 to 8 digits, such as "SEC-1234". Never put a value in it.',
  },
  batch_over_role_limit: {
    meaning: 'The batch holds more items than the caller’s roles allow in one call.',
    remedy: 'Split it into calls of at most the number given.',
  },
  budget_exceeded: {
    meaning: 'The call would take more values than the caller’s budget allows.',
    remedy: 'Wait for the seconds that Retry-After gives, ask for fewer values, or ask the security team.',
  },
  principal_suspended: {
    meaning: 'The caller used up a daily budget and is suspended.',
    remedy: 'Ask an administrator to lift the suspension.',
  },
  suspension_unknown: {
    meaning: 'This principal is not suspended.',
    remedy: 'List the suspensions and take issuer and subject from there.',
  },
  approval_required: {
    meaning: 'The policy asks for the approval of a second person.',
    remedy: 'Wait until an approver approves the request, then send the same call again with its approvalId.',
  },
  approval_unknown: {
    meaning: 'There is no request for approval of this id.',
    remedy: 'List the approvals and take an id from there.',
  },
  approval_self: {
    meaning: 'Nobody decides about a request of their own.',
    remedy: 'Ask another approver.',
  },
  approval_settled: {
    meaning: 'The request was decided before, or ran out.',
    remedy: 'Show it to see what became of it; send the original call again for a new one.',
  },
  approval_unusable: {
    meaning: 'The approval does not cover this call: it is for another one, not approved, used, or it ran out.',
    remedy: 'Send exactly the approved call, within 15 minutes and once; or leave approvalId out for a new request.',
  },
  approvals_too_many: {
    meaning: 'The caller has too many undecided requests for approval.',
    remedy: 'Wait until some are decided.',
  },
  idempotency_key_invalid: {
    meaning: 'The Idempotency-Key is not 1 to 255 printable ASCII characters, or stands twice.',
    remedy: 'Send one key, such as a UUID, in one header.',
  },
  idempotency_key_reused: {
    meaning: 'The Idempotency-Key was used for another request.',
    remedy: 'Make a new key for each operation; repeat a key only with the same request.',
  },
  idempotency_in_progress: {
    meaning: 'A request with this Idempotency-Key is being worked on, or failed less than five minutes ago.',
    remedy: 'Repeat it under the same key, now and then, for five minutes; a new key might do it twice.',
  },
  audit_event_unknown: {
    meaning: 'The audit log holds no event of this sequence, or not yet a checkpoint that covers it.',
    remedy: 'Ask for a sequence below the size of the newest checkpoint.',
  },
  batch_empty: {
    meaning: 'The batch holds no items.',
    remedy: 'Send at least one item.',
  },
  batch_too_large: {
    meaning: 'The batch holds more than 10,000 items.',
    remedy: 'Split it into calls of at most 10,000 items.',
  },
  batch_refused: {
    meaning: 'The call was atomic and at least one item was refused, so none is returned.',
    remedy: 'Read the items listed, remove or correct them, or leave atomic out.',
  },
  property_unknown: {
    meaning: 'The body has a property that the operation does not take.',
    remedy: 'Remove the property; unknown properties are never ignored.',
  },
  request_invalid: {
    meaning: 'The request does not match the operation’s schema.',
    remedy: 'Compare it with the OpenAPI document at /docs.',
  },
  body_malformed: {
    meaning: 'The body is not valid JSON.',
    remedy: 'Send one JSON object in UTF-8.',
  },
  body_too_large: {
    meaning: 'The body is larger than the API accepts.',
    remedy: 'Split the batch into smaller calls.',
  },
  content_type_unsupported: {
    meaning: 'The body’s media type is not application/json.',
    remedy: 'Send Content-Type: application/json.',
  },
  route_not_found: {
    meaning: 'There is no such operation.',
    remedy: 'Compare method and path with the OpenAPI document at /docs.',
  },
  method_not_allowed: {
    meaning: 'The path exists, but not for this method.',
    remedy: 'Use a method that the Allow header names.',
  },
  rate_limited: {
    meaning: 'The caller sent too many requests.',
    remedy: 'Wait for the seconds that Retry-After gives.',
  },
  overloaded: {
    meaning: 'The server is too busy or is stopping.',
    remedy: 'Try again after a short wait.',
  },
  audit_unavailable: {
    meaning: 'The audit event could not be committed, so nothing was returned.',
    remedy: 'Try again; if it lasts, tell the operator that audit storage is down.',
  },
  internal: {
    meaning: 'An unexpected fault; nothing about it is shown here.',
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
