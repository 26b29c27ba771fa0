import { Client, credentials, Metadata, type StatusObject, status } from '@grpc/grpc-js';
import type { Clock } from '../clock/clock.ts';
import type { CambistError } from '../errors.ts';
import { writeBytes } from '../protobuf.ts';
import { unavailable } from '../secrets/credential.ts';
import { type InvalidSvid, type JwtSvid, readJwtSvid, readX509Update, type X509Update } from './svid.ts';

export interface AgentOptions {
  /** The agent's Unix socket, as in `unix:///run/spire/agent/public/api.sock`. */
  readonly address: string;
  readonly clock: Clock;
  /** Delay before the first attempt to reconnect. Tests shorten it. */
  readonly retryMs?: number;
  /** Longest wait for the first response. Tests shorten it. */
  readonly responseMs?: number;
  /** Interval of the pings that detect an agent which hangs later. Tests shorten it. */
  readonly pingMs?: number;
}

const SERVICE = '/SpiffeWorkloadAPI';
/** An agent refuses calls without it, because a forged request that reaches the socket lacks it. */
const SECURITY_HEADER = { 'workload.spiffe.io': 'true' };
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
const RETRY_MS = 1000;
const MAX_RETRY_MS = 15_000;
const RESPONSE_MS = 15_000;
/** Agents in Go close a connection with more pings than one in five minutes. */
const PING_MS = 6 * 60_000;
const JWT_TIMEOUT_MS = 5000;

/** The calls to the SPIFFE agent. Their errors are {@link CambistError}s with ERR_CREDENTIAL_UNAVAILABLE. */
export function createAgentCalls(options: AgentOptions) {
  const { address, clock, retryMs = RETRY_MS, responseMs = RESPONSE_MS, pingMs = PING_MS } = options;
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.initial_reconnect_backoff_ms': retryMs,
    'grpc.max_reconnect_backoff_ms': retryMs,
    'grpc.keepalive_time_ms': pingMs,
    'grpc.keepalive_timeout_ms': responseMs,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
  });
  const metadata = Metadata.fromHttp2Headers(SECURITY_HEADER);
  let failures = 0;
  let isClosed = false;
  let endAttempt = (): void => {};

  /** Follows certificates and bundles. After each failure, it calls `lose` and calls the agent again later. */
  function follow(receive: (update: X509Update) => void, lose: (error: CambistError, isWithdrawn: boolean) => void) {
    const call = client.makeServerStreamRequest(`${SERVICE}/FetchX509SVID`, asIs, asIs, Buffer.alloc(0), metadata);
    let invalid: CambistError | undefined;
    endAttempt = () => call.cancel();
    const timer = setTimeout(endAttempt, responseMs);
    call.on('data', (message: Buffer) => {
      clearTimeout(timer);
      if (invalid !== undefined) return;
      let update: X509Update;
      try {
        update = readX509Update(message, clock.wallMs());
      } catch (error) {
        invalid = invalidUpdate(address, error as InvalidSvid);
        // The next call makes the agent send everything again.
        call.cancel();
        return;
      }
      failures = 0;
      receive(update);
    });
    // The event `status` follows, once for each call.
    call.on('error', () => {});
    call.on('status', (ended: StatusObject) => {
      clearTimeout(timer);
      if (isClosed) return;
      lose(invalid ?? failedCall(address, ended), ended.code === status.PERMISSION_DENIED);
      const delayMs = Math.min(MAX_RETRY_MS, retryMs * 2 ** failures++) * (1 - Math.random() / 2);
      const retry = setTimeout(follow, delayMs, receive, lose);
      endAttempt = () => clearTimeout(retry);
    });
  }

  function requestJwt(audience: string, id: string | undefined): Promise<JwtSvid> {
    return new Promise((resolve, reject) => {
      const request = Buffer.concat([writeBytes(1, audience), ...(id === undefined ? [] : [writeBytes(2, id)])]);
      const options = { deadline: Date.now() + JWT_TIMEOUT_MS };
      client.makeUnaryRequest(`${SERVICE}/FetchJWTSVID`, asIs, asIs, request, metadata, options, (error, message) => {
        if (error !== null) return reject(failedCall(address, error));
        try {
          resolve(readJwtSvid(message ?? Buffer.alloc(0), audience, clock.wallMs()));
        } catch (error) {
          reject(invalidUpdate(address, error as InvalidSvid));
        }
      });
    });
  }

  return {
    follow,
    requestJwt,
    close(): void {
      isClosed = true;
      endAttempt();
      client.close();
    },
  };
}

const asIs = (bytes: Buffer): Buffer => bytes;

function failedCall(address: string, { code, details }: Pick<StatusObject, 'code' | 'details'>): CambistError {
  const problem =
    code === status.PERMISSION_DENIED
      ? 'has no identity for this process: register an entry with its selectors'
      : 'is unavailable: check that it runs and that its socket is mounted';
  return unavailable(`spiffe: the agent at "${address}" ${problem}`, new Error(`${status[code]}: ${details}`));
}

function invalidUpdate(address: string, { message }: InvalidSvid): CambistError {
  return unavailable(`spiffe: the agent at "${address}" sent an invalid SVID: ${message}`);
}
