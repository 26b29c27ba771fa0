import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { bytesOf, type Fields, readFields } from '../../src/protobuf.ts';
import { startHttpServer } from './http-server.ts';
import type { Lifetime } from './lifetime.ts';

export type ReceivedSpan = Readonly<ReturnType<typeof readSpan>>;

type ReceivedLog = ReturnType<typeof readLog>;

export type OtlpReceiver = Awaited<ReturnType<typeof startOtlpReceiver>>;

const KINDS = ['other', 'internal', 'server', 'client', 'other', 'other'] as const;
const STATUS_ERROR = 2;

/** Receives traces and logs over OTLP/HTTP in protobuf, like a collector. */
export async function startOtlpReceiver(t: Lifetime) {
  const spans: ReceivedSpan[] = [];
  const logs: ReceivedLog[] = [];
  const bodies: Buffer[] = [];
  const server = await startHttpServer(async (request, response) => {
    const body = await buffer(request);
    const isKnown = request.url === '/v1/traces' || request.url === '/v1/logs';
    if (!isKnown || request.headers['content-type'] !== 'application/x-protobuf') {
      response.writeHead(404).end();
      return;
    }
    bodies.push(body);
    if (request.url === '/v1/traces') spans.push(...readRequest(body, readSpan));
    else logs.push(...readRequest(body, readLog));
    response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
  });
  t.after(server.close);
  /** `url` is the value of `OTEL_EXPORTER_OTLP_ENDPOINT`. `received` has all bytes, as latin1. */
  return { url: server.url, spans, logs, received: () => Buffer.concat(bodies).toString('latin1') };
}

/** @see opentelemetry-proto, ExportTraceServiceRequest and ExportLogsServiceRequest */
function readRequest<Item>(body: Buffer, read: (item: Buffer, resource: Record<string, unknown>) => Item): Item[] {
  return messages(readFields(body), 1).flatMap((resourceItems) => {
    const resource = readAttributes(readFields(bytesOf(resourceItems, 1)), 1);
    const items = messages(resourceItems, 2).flatMap((scope) => scope.get(2) ?? []);
    return items.map((item) => read(item, resource));
  });
}

function readLog(log: Buffer, resource: Record<string, unknown>) {
  const fields = readFields(log);
  return { event: bytesOf(fields, 12).toString(), body: readValue(bytesOf(fields, 5)), resource };
}

function readSpan(span: Buffer, resource: Record<string, unknown>) {
  const [numbers, status] = [new Map<number, number>(), new Map<number, number>()];
  const fields = readFields(span, numbers);
  readFields(bytesOf(fields, 15), status);
  return {
    traceId: bytesOf(fields, 1).toString('hex'),
    spanId: bytesOf(fields, 2).toString('hex'),
    /** Empty for the first span of a trace. */
    parentSpanId: bytesOf(fields, 4).toString('hex'),
    name: bytesOf(fields, 5).toString(),
    kind: KINDS[numbers.get(6) ?? 0] ?? 'other',
    attributes: readAttributes(fields, 9),
    isError: status.get(3) === STATUS_ERROR,
    durationMs: durationMsOf(span),
    /** Attributes of the sending process. */
    resource,
  };
}

/** From the fields 7 and 8, whose tags are `9` and `A`, after the kind. `readFields` passes over numbers of a fixed length. */
function durationMsOf(span: Buffer): number {
  const [, ...times] = /0.9(.{8})A(.{8})/s.exec(span.toString('latin1')) ?? assert.fail('a span has no times');
  const [start = 0n, end = 0n] = times.map((time) => Buffer.from(time, 'latin1').readBigUInt64LE());
  return Number(end - start) / 1e6;
}

function readAttributes(fields: Fields, number: number): Record<string, unknown> {
  return Object.fromEntries(
    messages(fields, number).map((attribute) => [bytesOf(attribute, 1).toString(), readValue(bytesOf(attribute, 2))]),
  );
}

/** A text, a flag or a number. */
function readValue(value: Buffer): unknown {
  const numbers = new Map<number, number>();
  const [text] = readFields(value, numbers).get(1) ?? [];
  return text?.toString() ?? (numbers.has(2) ? numbers.get(2) === 1 : numbers.get(3));
}

function messages(fields: Fields, number: number): Fields[] {
  return (fields.get(number) ?? []).map((message) => readFields(message));
}
