import { startHttpServer } from './http-server.ts';
import type { Lifetime } from './lifetime.ts';

export type ReceivedSpan = Readonly<ReturnType<typeof readSpan>>;

type ReceivedLog = ReturnType<typeof readLogs>[number];

export type OtlpReceiver = Awaited<ReturnType<typeof startOtlpReceiver>>;

type Fields = ReturnType<typeof readMessage>;

const KINDS = ['other', 'internal', 'server', 'client', 'other', 'other'] as const;
const STATUS_ERROR = 2n;

/** Receives traces and logs over OTLP/HTTP in protobuf, like a collector. */
export async function startOtlpReceiver(t: Lifetime) {
  const spans: ReceivedSpan[] = [];
  const logs: ReceivedLog[] = [];
  const bodies: Buffer[] = [];
  const server = await startHttpServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const isKnown = request.url === '/v1/traces' || request.url === '/v1/logs';
    if (!isKnown || request.headers['content-type'] !== 'application/x-protobuf') {
      response.writeHead(404).end();
      return;
    }
    bodies.push(body);
    if (request.url === '/v1/traces') spans.push(...readRequest(body));
    else logs.push(...readLogs(body));
    response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
  });
  t.after(server.close);
  /** `url` is the value of `OTEL_EXPORTER_OTLP_ENDPOINT`. `received` has all bytes, as latin1. */
  return { url: server.url, spans, logs, received: () => Buffer.concat(bodies).toString('latin1') };
}

/** @see opentelemetry-proto, ExportTraceServiceRequest */
function readRequest(body: Buffer): ReceivedSpan[] {
  return messages(readMessage(body), 1).flatMap((resourceSpans) => {
    const resource = messages(resourceSpans, 1)[0];
    const attributes = resource === undefined ? {} : readAttributes(resource, 1);
    return messages(resourceSpans, 2).flatMap((scope) => messages(scope, 2).map((span) => readSpan(span, attributes)));
  });
}

/** @see opentelemetry-proto, ExportLogsServiceRequest */
function readLogs(body: Buffer) {
  return messages(readMessage(body), 1).flatMap((resourceLogs) => {
    const [resource] = messages(resourceLogs, 1);
    const attributes = resource === undefined ? {} : readAttributes(resource, 1);
    return messages(resourceLogs, 2).flatMap((scope) =>
      messages(scope, 2).map((record) => {
        const [value] = messages(record, 5);
        return { event: String(record.get(12)?.[0]), body: value && readValue(value), resource: attributes };
      }),
    );
  });
}

function readSpan(span: Fields, resource: Readonly<Record<string, unknown>>) {
  const bytes = (number: number): Buffer => (span.get(number)?.[0] as Buffer | undefined) ?? Buffer.alloc(0);
  const figure = (number: number): bigint => (span.get(number)?.[0] as bigint | undefined) ?? 0n;
  const status = messages(span, 15)[0];
  return {
    traceId: bytes(1).toString('hex'),
    spanId: bytes(2).toString('hex'),
    /** Empty for the first span of a trace. */
    parentSpanId: bytes(4).toString('hex'),
    name: bytes(5).toString(),
    kind: KINDS[Number(figure(6))] ?? 'other',
    attributes: readAttributes(span, 9),
    isError: status?.get(3)?.[0] === STATUS_ERROR,
    durationMs: Number(figure(8) - figure(7)) / 1e6,
    /** Attributes of the sending process. */
    resource,
  };
}

function readAttributes(fields: Fields, number: number): Record<string, unknown> {
  return Object.fromEntries(
    messages(fields, number).map((attribute) => {
      const value = messages(attribute, 2)[0];
      return [String(attribute.get(1)?.[0]), value === undefined ? undefined : readValue(value)];
    }),
  );
}

function readValue(value: Fields): unknown {
  const [number, [written] = []] = [...value][0] ?? [0, []];
  if (number === 1) return String(written);
  if (number === 2) return written === 1n;
  if (number === 3) return Number(written);
  return written;
}

function messages(fields: Fields, number: number): Fields[] {
  return (fields.get(number) ?? []).map((value: WireValue) => readMessage(value as Buffer));
}

/** The value of a field: bytes for messages and strings, otherwise a number. */
type WireValue = Buffer | bigint;

/**
 * Returns the fields of a protobuf message by their numbers, in order.
 * @see https://protobuf.dev/programming-guides/encoding/
 */
function readMessage(bytes: Buffer): Map<number, WireValue[]> {
  const fields = new Map<number, WireValue[]>();
  let at = 0;

  function readVarint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at);
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  function readValue(wireType: number): WireValue {
    switch (wireType) {
      case 0:
        return readVarint();
      case 1:
        at += 8;
        return bytes.readBigUInt64LE(at - 8);
      case 2: {
        const length = Number(readVarint());
        at += length;
        return bytes.subarray(at - length, at);
      }
      case 5:
        at += 4;
        return BigInt(bytes.readUInt32LE(at - 4));
      default:
        throw new Error(`unknown wire type ${wireType} at ${at}`);
    }
  }

  while (at < bytes.length) {
    const key = Number(readVarint());
    const number = key >> 3;
    fields.set(number, [...(fields.get(number) ?? []), readValue(key & 7)]);
  }
  return fields;
}
