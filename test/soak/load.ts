import { Agent } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { createCounts, post as postTo } from '../chaos/base.ts';
import { DISCONNECTS, get, post } from '../harness/disconnects.ts';
import { connectRaw } from '../harness/http-call.ts';
import type { Random } from '../harness/random.ts';

/** Callers whose tokens stay in the cache. */
const STEADY_CALLERS = 40;
const TICK_MS = 1;
const CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call"}';
/** Paths of the two routes: plain HTTP and TLS to the backend. */
const ROUTES = ['/one', '/two'] as const;
const UPLOAD_BYTES = 256 * 1024;
/** More than the buffers between a caller and a backend. */
const UNREAD_BYTES = 16 * 1024 * 1024;

/** Starts actions at a fixed rate, whether or not earlier ones are finished. */
export async function startLoad(
  url: string,
  random: Random,
  /** Actions a second. */
  rate: number,
  /** A new token of a caller. */
  mint: (caller: string) => Promise<string>,
) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const tokens = await Promise.all(Array.from({ length: STEADY_CALLERS }, (_, i) => mint(`steady-${i}`)));
  const { outcomes, count } = createCounts();
  const running = new Set<Promise<void>>();
  let latencies: number[] = [];
  let newcomers = 0;

  const call = (path: string, token: string | undefined, body: string | Buffer = CALL): Promise<number> => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return postTo(url, { agent, path, headers }, body).status;
  };
  const steady = (): string => random.pick(tokens);
  const route = (): string => random.pick(ROUTES);

  /** Sends a part of a request on a connection of its own, and leaves. */
  const leave = async (): Promise<void> => {
    const authorization = `Authorization: Bearer ${steady()}\r\n`;
    const head = (text: string): string => text.replace('\r\n', `\r\n${authorization}`);
    const path = route();
    const [point, bytes] = random.pick<readonly [point: string, bytes: string]>([
      ['head', get(path).slice(0, -2)],
      ['unanswered', head(get(`${path}/hold`))],
      ['stream', head(get(`${path}/stream`))],
      ['upload', head(post(path, UPLOAD_BYTES, 'some'))],
      ['unread', head(post(`${path}/unread`, UNREAD_BYTES)) + 'x'.repeat(UPLOAD_BYTES)],
      ['pipelined', head(get(`${path}/hold`)) + head(get(path))],
      ['upgrade', head(get('/one', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'))],
    ]);
    const [way, disconnect] = random.pick(DISCONNECTS);
    const { socket, send } = await connectRaw(url);
    send(bytes);
    await delay(random.int(300));
    disconnect(socket);
    await delay(100);
    socket.destroy();
    count(`left: ${point}, ${way}`);
  };

  const act = async (dueMs: number): Promise<void> => {
    const kind = random.int(100);
    if (kind < 70) {
      const status = await call(route(), steady());
      latencies.push(performance.now() - dueMs);
      return count(`cached: ${status}`);
    }
    if (kind < 80) {
      newcomers += 1;
      return count(`new caller: ${await call(route(), await mint(`newcomer-${newcomers}`))}`);
    }
    if (kind < 85) return count(`stream: ${await call(`${route()}/stream`, steady())}`);
    if (kind < 89) return count(`upload: ${await call(route(), steady(), Buffer.alloc(UPLOAD_BYTES))}`);
    if (kind < 92) return count(`no token: ${await call(route(), undefined)}`);
    return leave();
  };

  const startedMs = performance.now();
  let started = 0;
  const ticking = setInterval(() => {
    const now = performance.now();
    for (; started < ((now - startedMs) / 1000) * rate; started += 1) {
      const dueMs = startedMs + (started / rate) * 1000;
      const action = act(dueMs).catch(() => count('failed'));
      running.add(action);
      void action.then(() => running.delete(action));
    }
  }, TICK_MS);

  return {
    /** Actions by their kind and outcome. */
    outcomes,
    /** Milliseconds of each cached call since the previous call of this function, from the time it was due. */
    takeLatencies(): number[] {
      const taken = latencies;
      latencies = [];
      return taken;
    },
    /** Starts no more actions, and settles when all are finished. */
    async stop(): Promise<void> {
      clearInterval(ticking);
      await Promise.all(running);
      agent.destroy();
    },
  };
}
