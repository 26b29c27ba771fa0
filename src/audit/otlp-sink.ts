import { setTimeout as delay } from 'node:timers/promises';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-proto';
import { telemetryResource } from '../observability/telemetry-resource.ts';
import type { AuditRecord } from './record-schema.ts';
import type { RecordSink } from './sinks.ts';

type LogRecord = Parameters<OTLPLogExporter['export']>[0][number];

/** `SeverityNumber.INFO` of OpenTelemetry's data model of logs. */
const INFO = 9;
/** Longest wait for the exporter to stop. */
const CLOSE_MS = 1000;

/**
 * Sends records as OpenTelemetry logs by OTLP/HTTP. The exporter reads endpoint, headers and timeout from the standard variables,
 * and retries before it fails. A record that failed is sent again, so the collector may get it twice.
 * @see https://opentelemetry.io/docs/specs/otel/protocol/exporter/
 */
export function createOtlpSink(version: string) {
  const exporter = new OTLPLogExporter();
  const resource = telemetryResource(version);
  const instrumentationScope = { name: 'cambist.audit', version };

  function toLogRecord(line: string): LogRecord {
    const record = JSON.parse(line) as AuditRecord;
    const timeMs = Date.parse(record.time);
    const hrTime: LogRecord['hrTime'] = [Math.floor(timeMs / 1000), (timeMs % 1000) * 1_000_000];
    return {
      hrTime,
      hrTimeObserved: hrTime,
      severityNumber: INFO,
      severityText: 'INFO',
      eventName: `cambist.audit.${record.event}`,
      // The record as one text, so that every collector keeps it as it is.
      body: line,
      attributes: {},
      droppedAttributesCount: 0,
      resource,
      instrumentationScope,
    };
  }

  return {
    send(lines): Promise<number> {
      const records = lines.toString().trimEnd().split('\n').map(toLogRecord);
      return new Promise((resolve, reject) => {
        exporter.export(records, ({ code, error }) => {
          if (code === 0) resolve(lines.length);
          else reject(error ?? new Error('the collector refused the records'));
        });
      });
    },
    async close() {
      await Promise.race([exporter.shutdown(), delay(CLOSE_MS, undefined, { ref: false })]);
    },
  } satisfies RecordSink;
}
