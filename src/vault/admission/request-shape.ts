import { TokenvaultError } from '../../errors.ts'

/** Most items of one call. */
export const maxBatchItems = 10_000

/** Most entries of one page of any list. */
export const maxPageSize = 1000

/**
 * What a purpose looks like: words of lower-case letters joined by _ or -, such as fraud_investigation. It is no free
 * text and holds no digit, so that nobody writes the address or device they look for into the evidence.
 */
export const purposePattern = '^(?=.{3,64}$)[a-z]+([_-][a-z]+)*$'

/** What a ticket looks like: SEC-1234 or INC0012345. Letters and one number, so that it cannot carry a value. */
export const ticketPattern = '^[A-Za-z]{2,10}-?[0-9]{1,8}$'

/** Ids that we make: UUIDs in lower case. */
export const approvalIdPattern = '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'

const purposeShape = new RegExp(purposePattern)
const ticketShape = new RegExp(ticketPattern)
const approvalIdShape = new RegExp(approvalIdPattern)

/** @throws TokenvaultError `purpose_missing` or `purpose_invalid` */
export function checkPurpose(purpose: string): void {
  if (purpose === '') throw new TokenvaultError('purpose_missing')
  if (!purposeShape.test(purpose)) throw new TokenvaultError('purpose_invalid')
}

/** @throws TokenvaultError `ticket_invalid` */
export function checkTicket(ticket: string | undefined): void {
  if (ticket !== undefined && !ticketShape.test(ticket)) throw new TokenvaultError('ticket_invalid')
}

/** @throws TokenvaultError `approval_unknown` where the text cannot be the id of a request for approval */
export function checkApprovalId(id: string | undefined): void {
  if (id !== undefined && !approvalIdShape.test(id)) throw new TokenvaultError('approval_unknown')
}

/** @throws TokenvaultError `batch_empty` or `batch_too_large` */
export function checkBatchSize(items: number): void {
  if (items === 0) throw new TokenvaultError('batch_empty')
  if (items > maxBatchItems) throw new TokenvaultError('batch_too_large')
}
