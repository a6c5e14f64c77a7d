import type { Approval } from './evidence-ports.ts'

/** What approvers are told of a new request: who asks, why and for how much, and nothing that names a token. */
export interface ApprovalNotice
  extends Pick<
    Approval,
    'id' | 'issuer' | 'subject' | 'roles' | 'purpose' | 'ticket' | 'reveal' | 'values' | 'fields'
  > {
  /** When the request runs out: RFC 3339, UTC. */
  readonly expiresAt: string
}

/** Tells approvers, some time later. Never throws and never waits. */
export type NotifyApprovers = (notice: ApprovalNotice) => void
