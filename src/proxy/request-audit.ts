import type { RequestRecord } from './proxy-request.ts';

/** Receives each request as its response begins. The audit trail implements it. */
export interface RequestAudit {
  /** @throws {CambistError} ERR_AUDIT_UNAVAILABLE while requests are refused because no record can be written */
  assertWritable(): void;
  /** Records a request. Called once for each, before the caller gets the response. */
  requestDecided(record: RequestRecord): void;
}
