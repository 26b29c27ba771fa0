import type { Scene } from '../../harness/scene.ts';

/** Callers that come again with one token, so that the cache serves them, and others that come once. */
export interface Load {
  /** Lets those who are about to be answered go first. */
  stop(): Promise<void>;
}

const PAUSE_MS = 100;
/** Every so many requests one is of somebody new, who costs an exchange. */
const NEWCOMER_EVERY = 4;
/** So that a load that nobody stops comes to an end: five minutes. */
const MAX_REQUESTS = 3_000;

/** Ten requests a second, whatever they are answered with. */
export async function startLoad(scene: Scene): Promise<Load> {
  const regular = await scene.bearer({ ttlSeconds: 3600 });
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
    const headers = isNewcomer ? await scene.bearer({ subject: `caller-${sent}` }) : regular;
    await scene.call({ headers, body: '{}' });
  }

  return {
    stop: async () => {
      clearInterval(timer);
      await Promise.all(underWay);
    },
  };
}
