import { randomUUID } from 'node:crypto';
import { parseJsonObject } from '../tokens/json-object.ts';
import type { TransmitterHealth } from './health.ts';
import { createPause, type Pause } from './pause.ts';
import { TransmitterError } from './problems.ts';
import { MANAGE_TIMEOUT_MS, type Stream } from './stream.ts';
import type { TransmitterClient } from './transmitter-client.ts';

/** Asks a transmitter regularly whether the stream works: for its status, and for verification events. */
export interface StreamWatch {
  start(): void;
  stop(): void;
  /** A verification event arrived. */
  verified(state: string): void;
}

export interface StreamWatchOptions {
  readonly name: string;
  readonly delivery: 'push' | 'poll';
  readonly client: Pick<TransmitterClient, 'get' | 'post'>;
  /** @throws {TransmitterError} */
  readonly locate: () => Promise<Stream>;
  readonly health: Pick<TransmitterHealth, 'failed' | 'worked'>;
  /** False where the event may arrive at another replica. */
  readonly isAlone: boolean;
  readonly pause?: Pause;
}

/** Interval between two checks of a stream that works. */
const CHECK_INTERVAL_MS = 10 * 60_000;
/** Interval while the stream does not work. */
const RETRY_MS = 60_000;
/** Time for a verification event to arrive. Keycloak accepts one request a minute. */
const VERIFICATION_MS = 2 * 60_000;

/** The transmitter sends no verification events to this client, or not now. */
const NOT_NOW: ReadonlySet<number> = new Set([401, 403, 404, 405, 429, 501]);

export function createStreamWatch(options: StreamWatchOptions): StreamWatch {
  const { name, delivery, client, locate, health, isAlone, pause = createPause() } = options;
  const label = `transmitter "${name}"`;
  /** The state of the last request whose verification event did not arrive yet. */
  let pending: string | undefined;
  let isStopped = false;

  async function run(): Promise<void> {
    while (!isStopped) {
      const works = await check();
      if (!works) await pause.wait(RETRY_MS);
      else if (pending === undefined) await pause.wait(CHECK_INTERVAL_MS);
      else {
        await pause.wait(VERIFICATION_MS);
        // An event that is missing is asked for again at once. Another replica may have it.
        if ((pending === undefined || !isAlone) && !isStopped) await pause.wait(CHECK_INTERVAL_MS - VERIFICATION_MS);
      }
    }
  }

  /** @returns false if the stream does not work */
  async function check(): Promise<boolean> {
    if (pending !== undefined && isAlone) {
      const why = `${label}: a verification event did not arrive in time`;
      health.failed('verification', new TransmitterError('unverified', why));
    }
    pending = undefined;
    try {
      const stream = await locate();
      await checkStatus(stream);
      if (!isStopped) health.worked('stream');
      await requestVerification(stream);
      return true;
    } catch (error) {
      // Polls report their own failures.
      if (!isStopped && (delivery === 'push' || isPaused(error))) health.failed('stream', error);
      return false;
    }
  }

  /** @throws {TransmitterError} `paused`. A transmitter without a status has its stream enabled. */
  async function checkStatus({ statusUrl }: Stream): Promise<void> {
    if (statusUrl === undefined) return;
    const response = await client.get(statusUrl, MANAGE_TIMEOUT_MS);
    const status = response.status === 200 ? parseJsonObject(response.text)?.status : undefined;
    if (status !== 'paused' && status !== 'disabled') return;
    throw new TransmitterError('paused', `${label}: its stream is ${status}`);
  }

  async function requestVerification({ id, verificationUrl }: Stream): Promise<void> {
    if (verificationUrl === undefined) return;
    const state = randomUUID();
    // The event may arrive before the response.
    pending = state;
    const { status } = await client.post(verificationUrl, { stream_id: id, state }, MANAGE_TIMEOUT_MS);
    if (NOT_NOW.has(status) && pending === state) pending = undefined;
  }

  return {
    start: () => void run(),
    stop() {
      isStopped = true;
      pause.end();
    },
    verified(state) {
      if (state !== pending) return;
      pending = undefined;
      health.worked('verification');
    },
  };
}

function isPaused(error: unknown): boolean {
  return error instanceof TransmitterError && error.problem === 'paused';
}
