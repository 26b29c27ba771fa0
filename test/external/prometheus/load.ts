import type { FakeSetup } from '../../harness/fake-setup.ts';

/** Callers that repeat one token, which the cache serves, and callers that send a new token each. */
export interface Load {
  /** Stops the load, and waits for the requests in flight. */
  stop(): Promise<void>;
}

const PAUSE_MS = 100;
/** One request in this many has a new token, which costs an exchange. */
const NEWCOMER_EVERY = 4;
/** Stops a forgotten load after five minutes. */
const MAX_REQUESTS = 3_000;

/** Sends ten requests a second, whatever the responses are. */
export async function startLoad(setup: FakeSetup): Promise<Load> {
  const regular = await setup.bearer({ ttlSeconds: 3600 });
  const underWay = new Set<Promise<unknown>>();
  let sent = 0;
  const timer = setInterval(() => {
    sent += 1;
    if (sent > MAX_REQUESTS) clearInterval(timer);
    const request = send(sent % NEWCOMER_EVERY === 0).catch(() => undefined);
    underWay.add(request);
    void request.finally(() => underWay.delete(request));
  }, PAUSE_MS);

  async function send(isNewcomer: boolean): Promise<void> {
    const headers = isNewcomer ? await setup.bearer({ subject: `caller-${sent}` }) : regular;
    await setup.call({ headers, body: '{}' });
  }

  return {
    stop: async () => {
      clearInterval(timer);
      await Promise.all(underWay);
    },
  };
}
