import { Client, credentials, Metadata, type StatusObject, status } from '@grpc/grpc-js';
import type { Clock } from '../clock/clock.ts';
import type { CambistError } from '../errors.ts';
import { addSpiffeAgent, unavailable } from '../secrets/credential.ts';
import {
  type InvalidSvid,
  type JwtSvid,
  readJwtSvid,
  readX509Update,
  type TrustBundles,
  type X509Svid,
  type X509Update,
} from './svid.ts';
import { writeJwtSvidRequest } from './workload-messages.ts';

/**
 * The identity of cambist by the SPIFFE Workload API.
 * @see https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md
 */
export interface WorkloadApi {
  /** The current certificate. Undefined before the first one, after it expired, and after the agent withdrew it. */
  svid(): X509Svid | undefined;
  /** Empty without a certificate from the agent. */
  bundles(): TrustBundles;
  /** @param listener is called after each change of the certificate or of the bundles @returns ends the calls */
  changed(listener: () => void): () => void;
  /**
   * The token for an audience of the config. It is fetched once, and again in the background after half of its lifetime.
   * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
   */
  jwtSvid(audience: string): Promise<JwtSvid>;
  /** Resolves with the first certificate. */
  readonly ready: Promise<void>;
  /** @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE without a valid certificate */
  prepare(): Promise<void>;
  /** `isUp`: the agent is connected, and what it sent is valid. `expiresAtMs` is that of the current certificate. */
  status(): { readonly isUp: boolean; readonly expiresAtMs: number | undefined };
  close(): void;
}

type WriteLine = (fields: { readonly err?: unknown }, message: string) => void;

export interface WorkloadApiOptions {
  /** The agent's Unix socket, as in `unix:///run/spire/agent/public/api.sock`. */
  readonly address: string;
  readonly clock: Clock;
  readonly logger: { readonly info: WriteLine; readonly warn: WriteLine };
  /** Delay before the first attempt to reconnect. Tests shorten it. */
  readonly retryMs?: number;
  /** Longest wait for the first response. Tests shorten it. */
  readonly patienceMs?: number;
  /** Interval of the pings that detect an agent which hangs later. Tests shorten it. */
  readonly pingMs?: number;
}

const SERVICE = '/SpiffeWorkloadAPI';
/** An agent refuses calls without it, because a forged request that reaches the socket lacks it. */
const SECURITY_HEADER = { 'workload.spiffe.io': 'true' };
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
const RETRY_MS = 1000;
const MAX_RETRY_MS = 15_000;
const PATIENCE_MS = 15_000;
/** Agents in Go close a connection with more pings than one in five minutes. */
const PING_MS = 6 * 60_000;
const JWT_TIMEOUT_MS = 5000;
/** Delay after a failed attempt to replace a token that is still valid. */
const JWT_RETRY_MS = 5000;
/** A token may expire on its way to a server, whose clock may be ahead. */
const JWT_MARGIN_MS = 10_000;

interface KeptJwt {
  svid?: JwtSvid;
  replaceAtMs: number;
  fetching?: Promise<JwtSvid> | undefined;
}

/** Connects to the agent, and again after each failure, until it is closed. */
export function createWorkloadApi(options: WorkloadApiOptions): WorkloadApi {
  const { address, clock, logger, retryMs = RETRY_MS, patienceMs = PATIENCE_MS, pingMs = PING_MS } = options;
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.initial_reconnect_backoff_ms': retryMs,
    'grpc.max_reconnect_backoff_ms': retryMs,
    'grpc.keepalive_time_ms': pingMs,
    'grpc.keepalive_timeout_ms': patienceMs,
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
  /** Replaced when the identity changes, and with it the result of a call in flight. */
  let jwts = new Map<string, KeptJwt>();
  let failure: CambistError | undefined = unavailable(`spiffe: the agent at "${address}" has not sent an SVID yet`);
  let reported: string | undefined;
  let failures = 0;
  let isClosed = false;
  let endAttempt = (): void => {};

  const svid = (): X509Svid | undefined =>
    current !== undefined && clock.wallMs() < current.svid.expiresAtMs ? current.svid : undefined;

  function follow(): void {
    const call = client.makeServerStreamRequest(`${SERVICE}/FetchX509SVID`, asIs, asIs, Buffer.alloc(0), metadata);
    let invalid: Error | undefined;
    endAttempt = () => call.cancel();
    const patience = setTimeout(endAttempt, patienceMs);
    call.on('data', (message: Buffer) => {
      clearTimeout(patience);
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
      clearTimeout(patience);
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
    if (update?.svid.spiffeId.id !== current?.svid.spiffeId.id) jwts = new Map();
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

  function jwtSvid(audience: string): Promise<JwtSvid> {
    let kept = jwts.get(audience);
    if (kept === undefined) {
      kept = { replaceAtMs: 0 };
      jwts.set(audience, kept);
    }
    const nowMs = clock.wallMs();
    if (kept.svid === undefined || kept.svid.expiresAtMs - JWT_MARGIN_MS <= nowMs) return fetchJwt(audience, kept);
    if (kept.replaceAtMs <= nowMs) void replaceJwt(audience, kept);
    return Promise.resolve(kept.svid);
  }

  async function replaceJwt(audience: string, kept: KeptJwt): Promise<void> {
    kept.replaceAtMs = clock.wallMs() + JWT_RETRY_MS;
    await fetchJwt(audience, kept).catch((err: unknown) => {
      // Without the agent, the log says so already.
      if (failure === undefined) logger.warn({ err }, 'JWT-SVID not replaced; keeping it until it expires');
    });
  }

  /** One call at a time for each audience. */
  function fetchJwt(audience: string, kept: KeptJwt): Promise<JwtSvid> {
    kept.fetching ??= requestJwt(audience)
      .then((svid) => {
        const nowMs = clock.wallMs();
        Object.assign(kept, { svid, replaceAtMs: (nowMs + svid.expiresAtMs) / 2 });
        return svid;
      })
      .finally(() => {
        kept.fetching = undefined;
      });
    return kept.fetching;
  }

  function requestJwt(audience: string): Promise<JwtSvid> {
    return new Promise((resolve, reject) => {
      const request = writeJwtSvidRequest(audience, current?.svid.spiffeId.id);
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

  const remove = addSpiffeAgent(address, async (audience) => (await jwtSvid(audience)).token);
  follow();
  return {
    svid,
    bundles: () => current?.bundles ?? new Map(),
    changed(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    jwtSvid,
    ready,
    async prepare() {
      if (svid() === undefined) throw failure ?? unavailable(`spiffe: the agent at "${address}" let the SVID expire`);
    },
    status: () => ({ isUp: failure === undefined, expiresAtMs: current?.svid.expiresAtMs }),
    close() {
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
