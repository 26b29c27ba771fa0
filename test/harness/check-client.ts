import { type CallOptions, type ChannelOptions, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { bytesOf, readFields, textOf, writeNumber } from '../../src/protobuf.ts';
import { message } from './spiffe-agent.ts';

/** A request that a data plane asks about. */
export interface Check {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly scheme?: string;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** Sends the headers as a list with `raw_value`, as with `encode_raw_headers`. */
  readonly isRaw?: boolean;
  readonly body?: string;
  readonly rawBody?: string | Buffer;
  readonly context?: readonly (readonly [name: string, value: string])[];
}

export type CheckResult = ReturnType<typeof result>;

const field = (number: number, value: string | Buffer | undefined) =>
  value === undefined ? [] : ([[number, value]] as const);

export function checkRequest(check: Check): Buffer {
  const { method = 'GET', path = '/github/x?a=1', host = 'mcp.example.com', scheme = 'http', headers = [] } = check;
  const { isRaw = false, body, rawBody, context = [['route', 'github']] } = check;
  const entries = headers.map(([name, value]) => message([1, name], [isRaw ? 3 : 2, Buffer.from(value, 'latin1')]));
  const http = message(
    [2, method],
    ...(isRaw ? [] : entries.map((entry) => [3, entry] as const)),
    [4, path],
    [5, host],
    [6, scheme],
    ...field(11, body),
    ...field(12, rawBody),
    ...(isRaw ? [[13, message(...entries.map((entry) => [1, entry] as const))] as const] : []),
  );
  const extensions = context.map(([key, value]) => [10, message([1, key], [2, value])] as const);
  return message([1, message([4, message([2, http])], ...extensions)]);
}

function result(response: Buffer) {
  const fields = readFields(response);
  const isAllowed = bytesOf(fields, 1).length === 0 && fields.has(3);
  const inner = readFields(bytesOf(fields, isAllowed ? 3 : 2));
  const headers = (inner.get(2) ?? []).map((option) => {
    const header = readFields(bytesOf(readFields(option), 1));
    return [textOf(header, 1), textOf(header, 2)] as const;
  });
  return {
    /** `google.rpc.Status` */
    isAllowed,
    /** The status of a refusal. */
    status: isAllowed ? undefined : readVarint(bytesOf(inner, 1)),
    headers: Object.fromEntries(headers) as Readonly<Record<string, string>>,
    removed: isAllowed ? (inner.get(5) ?? []).map(String) : [],
    body: isAllowed ? '' : bytesOf(inner, 3).toString(),
  };
}

/** `HttpStatus` has one number. */
function readVarint(field: Buffer): number {
  return field.subarray(1).reduce((sum, byte, index) => sum + (byte & 127) * 128 ** index, 0);
}

/** Numbers of the messages in a request. Those of a response are less by one. */
export const KINDS = {
  request_headers: 2,
  response_headers: 3,
  request_body: 4,
  response_body: 5,
  request_trailers: 6,
} as const;

/** A message of ext_proc with headers. */
interface Sent {
  readonly headers?: Readonly<Record<string, string>>;
  readonly isWhole?: boolean;
  /** The mode in `protocol_config`, which is missing without one. */
  readonly bodyMode?: number | undefined;
  readonly more?: Buffer;
}

export function headersMessage(
  kind: 'request_headers' | 'response_headers',
  { headers, isWhole, more, ...rest }: Sent,
): Buffer {
  const bodyMode = 'bodyMode' in rest ? rest.bodyMode : 0;
  const map = message(
    ...Object.entries(headers ?? {}).map(([name, value]) => [1, message([1, name], [3, value])] as const),
  );
  const content = Buffer.concat([message([1, map]), writeNumber(3, isWhole === false ? 0 : 1)]);
  return Buffer.concat([
    message([KINDS[kind], content]),
    ...(bodyMode === undefined ? [] : [message([11, writeNumber(1, bodyMode)])]),
    more ?? Buffer.alloc(0),
  ]);
}

/** A client of gRPC. @param address as in `http://127.0.0.1:8183` or `unix:/path` */
export function startCheckClient(
  t: { after(run: () => void): void },
  address: string,
  options: ChannelOptions = {},
  channel = credentials.createInsecure(),
) {
  const client = new Client(address.replace(/^https?:\/\//, ''), channel, {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
    ...options,
  });
  t.after(() => client.close());
  const asIs = (bytes: Buffer): Buffer => bytes;

  function send(path: string, request: Buffer, fields: Record<string, string>, more: CallOptions = {}) {
    const metadata = Metadata.fromHttp2Headers(fields);
    return new Promise<Buffer>((resolve, reject) => {
      const settle = (error: ServiceError | null, response?: Buffer) =>
        error === null ? resolve(response as Buffer) : reject(error);
      client.makeUnaryRequest(path, asIs, asIs, request, metadata, more, settle);
    });
  }

  /** A call with a message for each one that the server responds to. */
  function open(path: string, fields: Record<string, string>) {
    const call = client.makeBidiStreamRequest(path, asIs, asIs, Metadata.fromHttp2Headers(fields));
    const responses: Buffer[] = [];
    const ended = new Promise<number>((resolve) => {
      call.on('status', ({ code }) => resolve(code));
    });
    call.on('error', () => {});
    call.on('data', (response: Buffer) => responses.push(response));
    return { call, responses, ended };
  }

  return {
    send,
    open,
    check: async (check: Check, metadata: Record<string, string> = {}, more: CallOptions = {}): Promise<CheckResult> =>
      result(await send('/envoy.service.auth.v3.Authorization/Check', checkRequest(check), metadata, more)),
    health: async (service = '') => readVarint(await send('/grpc.health.v1.Health/Check', message([1, service]), {})),
  };
}
