import { createPoller } from '../../../src/signals/poller.ts';
import { type TransmitterError, unexpectedStatus } from '../../../src/signals/transmitter-client.ts';
import { type HttpResponse, toRequestUrl } from '../../../src/tokens/bounded-request.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const URL = toRequestUrl('https://idp.example.com/poll');

interface Sent {
  readonly maxEvents: number;
  readonly returnImmediately: boolean;
  readonly ack?: readonly string[];
  readonly setErrs?: object;
  readonly timeoutMs: number;
  /** The error that this poll reported. */
  problem?: TransmitterError | undefined;
}

type Reply = object | string | number | Error;

export interface RunOptions {
  readonly take?: (token: string) => Promise<unknown>;
  readonly delayMs?: number;
  readonly isShared?: () => boolean;
}

/** A poller whose transmitter gives these replies, and whose pauses end at once. It stops after the last reply. */
export async function run(
  replies: readonly Reply[],
  { take = async () => true, delayMs = 0, isShared = () => true }: RunOptions = {},
) {
  const clock = createFakeClock();
  const sent: Sent[] = [];
  const results: unknown[] = [];
  const pauses: number[] = [];
  let finish = () => {};
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const left = [...replies];
  const poller = createPoller({
    name: 'idp',
    client: {
      async post(_url, body, timeoutMs) {
        sent.push({ ...(JSON.parse(JSON.stringify(body)) as Omit<Sent, 'timeoutMs'>), timeoutMs });
        clock.advance(delayMs);
        const reply = left.shift();
        if (reply instanceof Error) throw reply;
        return responseOf(reply ?? {});
      },
      unexpected: (what, response) => unexpectedStatus(what, response, 0),
    },
    url: URL,
    intervalMs: 5000,
    async take(token) {
      const isTaken = (await take(token)) !== false;
      return () => isTaken || isShared();
    },
    onResult(error) {
      results.push(error);
      (sent.at(-1) as Sent).problem = error as TransmitterError | undefined;
    },
    clock,
    random: () => 1,
    pause: {
      async wait(ms) {
        pauses.push(ms);
        if (left.length > 0) return;
        poller.stop();
        finish();
      },
      end: () => {},
    },
  });
  poller.start();
  await finished;
  return { sent, results, pauses };
}

function responseOf(reply: Exclude<Reply, Error>): HttpResponse {
  if (typeof reply === 'number') return { status: reply, retryAfter: '40', text: '' };
  return { status: 200, retryAfter: undefined, text: typeof reply === 'string' ? reply : JSON.stringify(reply) };
}

export const sets = (...names: string[]) => ({
  sets: Object.fromEntries(names.map((name) => [name, `token of ${name}`])),
});
