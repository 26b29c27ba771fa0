import type { CambistError } from '../errors.ts';
import { addSpiffeAgent, unavailable } from '../secrets/credential.ts';
import { type AgentOptions, createAgentCalls } from './agent-calls.ts';
import { createJwtSvids } from './jwt-svids.ts';
import type { TrustBundles, X509Svid, X509Update } from './svid.ts';

/**
 * The identity of cambist by the SPIFFE Workload API.
 * @see https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md
 */
export type WorkloadApi = ReturnType<typeof createWorkloadApi>;

type WriteLine = (fields: { readonly err?: unknown }, message: string) => void;

export interface WorkloadApiOptions extends AgentOptions {
  readonly logger: { readonly info: WriteLine; readonly warn: WriteLine };
}

/** Connects to the agent, and again after each failure, until it is closed. */
export function createWorkloadApi(options: WorkloadApiOptions) {
  const { address, clock, logger } = options;
  const calls = createAgentCalls(options);
  const listeners = new Set<() => void>();
  let becomeReady = (): void => {};
  const ready = new Promise<void>((resolve) => {
    becomeReady = resolve;
  });
  let current: X509Update | undefined;
  let failure: CambistError | undefined = unavailable(`spiffe: the agent at "${address}" has not sent an SVID yet`);
  let reported: string | undefined;

  /** The current certificate. Undefined before the first one, after it expired, and after the agent withdrew it. */
  const svid = (): X509Svid | undefined =>
    current !== undefined && clock.wallMs() < current.svid.expiresAtMs ? current.svid : undefined;

  function receive(update: X509Update): void {
    change(update);
    becomeReady();
    failure = undefined;
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

  function lose(error: CambistError, isWithdrawn: boolean): void {
    if (isWithdrawn && current !== undefined) change(undefined);
    failure = error;
    report(
      error,
      svid() === undefined
        ? 'no SVID from the SPIFFE agent; retrying'
        : 'lost the SPIFFE agent; keeping the SVID until it expires',
    );
  }

  /** Writes each problem and each consequence once, not once for each attempt. */
  function report(err: CambistError, consequence: string): void {
    const line = `${consequence} ${err.message}`;
    if (line !== reported) logger.warn({ err }, consequence);
    reported = line;
  }

  const requestJwt = (audience: string) => calls.requestJwt(audience, current?.svid.spiffeId.id);
  const jwtSvids = createJwtSvids(requestJwt, clock, (err) => {
    // Without the agent, the log says so already.
    if (failure === undefined) logger.warn({ err }, 'JWT-SVID not replaced; keeping it until it expires');
  });
  const remove = addSpiffeAgent(address, async (audience) => (await jwtSvids.obtain(audience)).token);
  calls.follow(receive, lose);
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
      remove();
      calls.close();
    },
  };
}
