import { Client, credentials, Metadata, type StatusObject, status } from '@grpc/grpc-js';
import type { Clock } from '../clock/clock.ts';
import type { CambistError } from '../errors.ts';
import { writeBytes } from '../protobuf.ts';
import { addSpiffeAgent, unavailable } from '../secrets/credential.ts';
import { createJwtSvids } from './jwt-svids.ts';
import {
  type InvalidSvid,
  type JwtSvid,
  readJwtSvid,
  readX509Update,
  type TrustBundles,
  type X509Svid,
  type X509Update,
} from './svid.ts';

/**
 * The identity of cambist by the SPIFFE Workload API.
 * @see https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md
 */
export type WorkloadApi = ReturnType<typeof createWorkloadApi>;

type WriteLine = (fields: { readonly err?: unknown }, message: string) => void;

export interface WorkloadApiOptions {
  /** The agent's Unix socket, as in `unix:///run/spire/agent/public/api.sock`. */
  readonly address: string;
  readonly clock: Clock;
  readonly logger: { readonly info: WriteLine; readonly warn: WriteLine };
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

/** Connects to the agent, and again after each failure, until it is closed. */
export function createWorkloadApi(options: WorkloadApiOptions) {
  const { address, clock, logger, retryMs = RETRY_MS, responseMs = RESPONSE_MS, pingMs = PING_MS } = options;
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
  const listeners = new Set<() => void>();
  let becomeReady = (): void => {};
  const ready = new Promise<void>((resolve) => {
    becomeReady = resolve;
  });
  let current: X509Update | undefined;
  let failure: CambistError | undefined = unavailable(`spiffe: the agent at "${address}" has not sent an SVID yet`);
  let reported: string | undefined;
  let failures = 0;
  let isClosed = false;
  let endAttempt = (): void => {};

  /** The current certificate. Undefined before the first one, after it expired, and after the agent withdrew it. */
  const svid = (): X509Svid | undefined =>
    current !== undefined && clock.wallMs() < current.svid.expiresAtMs ? current.svid : undefined;

  function follow(): void {
    const call = client.makeServerStreamRequest(`${SERVICE}/FetchX509SVID`, asIs, asIs, Buffer.alloc(0), metadata);
    let invalid: Error | undefined;
    endAttempt = () => call.cancel();
    const timer = setTimeout(endAttempt, responseMs);
    call.on('data', (message: Buffer) => {
      clearTimeout(timer);
      if (invalid !== undefined) return;
      let update: X509Update;
      try {
        update = readX509Update(message, clock.wallMs());
      } catch (error) {
        invalid = error as InvalidSvid;
        // The next call makes the agent send everything again.
        call.cancel();
        return;
      }
      receive(update);
    });
    // The event `status` follows, once for each call.
    call.on('error', () => {});
    call.on('status', (ended: StatusObject) => {
      clearTimeout(timer);
      if (isClosed) return;
      if (ended.code === status.PERMISSION_DENIED && current !== undefined) change(undefined);
      lost(invalid === undefined ? failedCall(address, ended) : invalidUpdate(address, invalid));
    });
  }

  function receive(update: X509Update): void {
    change(update);
    becomeReady();
    failure = undefined;
    failures = 0;
    const [refused] = update.refused;
    if (refused !== undefined) {
      report(unavailable(`spiffe: the bundle of ${refused} is invalid`), 'invalid SPIFFE bundle; refusing its SVIDs');
    } else if (reported !== undefined) {
      reported = undefined;
      logger.info({}, 'SPIFFE agent is available');
    }
  }

  /** An identity that the agent withdraws is not used any more. */
  function change(update: X509Update | undefined): void {
    if (update?.svid.spiffeId.id !== current?.svid.spiffeId.id) jwtSvids.forget();
    current = update;
    for (const listener of listeners) listener();
  }

  function lost(error: CambistError): void {
    failure = error;
    report(
      error,
      svid() === undefined
        ? 'no SVID from the SPIFFE agent; retrying'
        : 'lost the SPIFFE agent; keeping the SVID until it expires',
    );
    const delayMs = Math.min(MAX_RETRY_MS, retryMs * 2 ** failures++) * (1 - Math.random() / 2);
    const timer = setTimeout(follow, delayMs);
    endAttempt = () => clearTimeout(timer);
  }

  /** Writes each problem and each consequence once, not once for each attempt. */
  function report(err: CambistError, consequence: string): void {
    const line = `${consequence} ${err.message}`;
    if (line !== reported) logger.warn({ err }, consequence);
    reported = line;
  }

  function requestJwt(audience: string): Promise<JwtSvid> {
    return new Promise((resolve, reject) => {
      const id = current?.svid.spiffeId.id;
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

  const jwtSvids = createJwtSvids(requestJwt, clock, (err) => {
    // Without the agent, the log says so already.
    if (failure === undefined) logger.warn({ err }, 'JWT-SVID not replaced; keeping it until it expires');
  });
  const remove = addSpiffeAgent(address, async (audience) => (await jwtSvids.obtain(audience)).token);
  follow();
  return {
    svid,
    /** Returns the trust bundles. The map is empty without a certificate from the agent. */
    bundles: (): TrustBundles => current?.bundles ?? new Map(),
    /** @param listener is called after each change of the certificate or of the bundles @returns ends the calls */
    changed(listener: () => void): () => void {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    jwtSvid: jwtSvids.obtain,
    /** Resolves with the first certificate. */
    ready,
    /** @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE without a valid certificate */
    async prepare(): Promise<void> {
      if (svid() === undefined) throw failure ?? unavailable(`spiffe: the agent at "${address}" let the SVID expire`);
    },
    /** `isUp`: the agent is connected, and what it sent is valid. `expiresAtMs` is that of the current certificate. */
    status: () => ({ isUp: failure === undefined, expiresAtMs: current?.svid.expiresAtMs }),
    close(): void {
      isClosed = true;
      remove();
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

function invalidUpdate(address: string, { message }: Error): CambistError {
  return unavailable(`spiffe: the agent at "${address}" sent an invalid SVID: ${message}`);
}
