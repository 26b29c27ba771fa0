import type { Audit } from '../config/audit.ts';
import { CambistError } from '../errors.ts';
import type { AuditCounts } from '../observability/counts.ts';
import type { Logger } from '../observability/logger.ts';
import type { ExchangeOutcome } from '../observability/token-observer.ts';
import type { RequestRecord } from '../proxy/request-record.ts';
import type { Revocation } from '../tokens/revocation-list.ts';
import { exchangeRecord, requestRecord, revocationRecord } from './audit-records.ts';
import { createRecordQueue, MAX_PENDING_LENGTH } from './record-queue.ts';
import type { AuditRecord, RevocationAuditRecord } from './record-schema.ts';
import { createPseudonyms } from './recorded-claims.ts';
import { createFileSink, createStdoutSink, type RecordSink } from './sinks.ts';
import { createTokenFacts } from './token-facts.ts';

export type AuditTrail = Awaited<ReturnType<typeof createAuditTrail>>;

/** Longest wait for the last records. */
const CLOSE_MS = 5000;

/** @throws {Error} where the SDK of OpenTelemetry cannot be loaded */
export async function createAuditTrail(config: Audit, version: string, logger: Logger) {
  const pseudonyms = createPseudonyms(config.pseudonymize);
  const facts = createTokenFacts(config.claims, pseudonyms);
  const refuses = config.onFull === 'refuse';
  const sink = await createSink(config.to, version, logger);
  const queue = createRecordQueue(sink, {
    keepsAll: refuses,
    lossLine: (records) => toLine({ kind: 'audit', event: 'lost', time: new Date().toISOString(), records }),
    onFault: (error) => {
      const consequence = refuses
        ? 'refusing requests'
        : `keeping ${MAX_PENDING_LENGTH / 2 ** 20} MiB of them, then dropping`;
      logger.error({ err: error }, `audit records cannot be written; ${consequence}`);
    },
    onRecovered: () => logger.info('audit records are written again'),
  });

  let wasOpened = false;

  /** Also true without the key of the pseudonyms: without it, no record is complete. */
  const isUnwritable = (): boolean => queue.isBlocked || !wasOpened || !pseudonyms.isReady;

  async function readKey(): Promise<void> {
    if (await pseudonyms.readKey()) facts.forget();
  }

  return {
    assertWritable(): void {
      if (refuses && isUnwritable()) {
        throw new CambistError(
          'ERR_AUDIT_UNAVAILABLE',
          'audit records cannot be written, and audit.on_full is "refuse"',
        );
      }
    },
    requestDecided(record: RequestRecord): void {
      // Refused because nothing can be written. The metrics count it.
      if (record.error?.code === 'ERR_AUDIT_UNAVAILABLE') return;
      // Anyone can send requests without a route, and nothing bounds their number while none is refused for this.
      if (refuses && record.route === undefined && record.authority === undefined && isUnwritable()) return;
      queue.push(toLine(requestRecord(record, config, facts)));
    },
    revoked: (revocation: Revocation, result: RevocationAuditRecord['result']) =>
      queue.push(toLine(revocationRecord(revocation, result, pseudonyms.pseudonymize))),
    exchangeFinished: (outcome: ExchangeOutcome) => queue.push(toLine(exchangeRecord(outcome, facts))),
    /**
     * Opens the destination and reads the key of the pseudonyms.
     * @throws {CambistError} ERR_AUDIT_UNAVAILABLE, ERR_CREDENTIAL_UNAVAILABLE
     */
    async prepare(): Promise<void> {
      await readKey();
      try {
        sink.open?.();
        wasOpened = true;
      } catch (cause) {
        throw new CambistError('ERR_AUDIT_UNAVAILABLE', `audit.to: ${nameOf(config.to)} cannot be opened`, { cause });
      }
    },
    sweep(): void {
      readKey().catch((error: unknown) => {
        logger.warn({ err: error }, 'reading the key for audit pseudonyms failed; keeping the previous one');
      });
    },
    /** Opens a file again, because it may have been rotated. */
    reopen: () => sink.reopen?.(),
    counts: (): AuditCounts => ({
      written: queue.written,
      dropped: queue.dropped,
      writable: !(refuses ? isUnwritable() : queue.isBlocked),
    }),
    async close(hurry: AbortSignal | undefined): Promise<void> {
      const { dropped } = queue;
      await queue.close(CLOSE_MS, hurry);
      const lost = queue.dropped - dropped;
      if (lost > 0) logger.error(`shutdown lost ${lost} audit records; the destination did not take them`);
    },
  };
}

function toLine(record: AuditRecord): string {
  return `${JSON.stringify(record)}\n`;
}

async function createSink(to: Audit['to'], version: string, logger: Logger): Promise<RecordSink> {
  switch (to.kind) {
    case 'stdout':
      return createStdoutSink(logger);
    case 'file':
      return createFileSink(to.path);
    case 'otlp':
      return (await import('./otlp-sink.ts')).createOtlpSink(version);
  }
}

function nameOf(to: Audit['to']): string {
  return 'path' in to ? `"${to.path}"` : to.kind;
}
