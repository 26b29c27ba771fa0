/** The state of the audit trail, as metrics show it. */
export interface AuditCounts {
  /** Records that the destination took. */
  readonly written: number;
  /** Records that were dropped. */
  readonly dropped: number;
  readonly writable: boolean;
}
