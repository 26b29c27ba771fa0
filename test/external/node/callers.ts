import { Agent } from 'node:http';
import { Agent as SecureAgent } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually } from '../../harness/eventually.ts';
import { type CallOptions, call } from '../../harness/http-call.ts';
import { run } from './node.ts';

/** Clients that call all the time, and what they lose. */

export interface Kind {
  readonly clients: number;
  readonly pauseMs: number;
  /** Makes one client. @returns sends a request, and throws where it fails */
  client(): () => Promise<unknown>;
}

export type Kinds = Readonly<Record<string, Kind>>;

/** After the rollout. */
const AFTER_MS = 1000;
const CALLED_MS = 60_000;
const SHOWN = 20;

/** Starts clients, and stops them after `during`. @returns what failed, and how many requests each kind sent */
export async function callThroughout(kinds: Kinds, during: () => Promise<unknown>) {
  const failures: string[] = [];
  const sent: Record<string, number> = {};
  const loops: Promise<void>[] = [];
  let begun = 0;
  let isOver = false;
  const startMs = performance.now();
  for (const [name, { clients, pauseMs, client }] of Object.entries(kinds)) {
    sent[name] = 0;
    for (let index = 0; index < clients; index += 1) {
      loops.push(
        (async () => {
          const send = client();
          for (let calls = 1; !isOver; calls += 1) {
            try {
              await send();
            } catch (error) {
              failures.push(`${name} after ${Math.round(performance.now() - startMs)} ms: ${error}`);
            }
            sent[name] = (sent[name] ?? 0) + 1;
            if (calls === 1) begun += 1;
            await delay(pauseMs);
          }
        })(),
      );
    }
  }
  try {
    await eventually('each client has called', () => begun === loops.length, CALLED_MS);
    await during();
    await delay(AFTER_MS);
  } finally {
    isOver = true;
    await Promise.all(loops);
  }
  return { failures: failures.slice(0, SHOWN), sent };
}

export interface Target extends Pick<CallOptions, 'headers' | 'body'> {
  readonly url: string;
  /** The CA of an https URL, and the name in its certificate. */
  readonly tls?: { readonly ca: string; readonly servername: string };
  readonly status?: number;
}

/** Thirty clients with a connection each, which repeat nothing, and others that make new ones. */
export function httpClients(target: Target): Kinds {
  return {
    'kept alive, 5 ms': { clients: 10, pauseMs: 5, client: httpClient(target) },
    'kept alive, 20 ms': { clients: 10, pauseMs: 20, client: httpClient(target) },
    'kept alive, 100 ms': { clients: 10, pauseMs: 100, client: httpClient(target) },
    'new connections': { clients: 2, pauseMs: 50, client: httpClient(target, false) },
  };
}

/** A client with one connection, or with a new one for each request. */
export function httpClient(target: Target, keepAlive = true, check: (text: string) => void = () => {}): Kind['client'] {
  return () => {
    const options = { keepAlive, maxSockets: 1 };
    const agent = target.tls === undefined ? new Agent(options) : new SecureAgent({ ...options, ...target.tls });
    return async () => check(await get(target, agent));
  };
}

/** @throws Error where the response is another one */
async function get({ url, headers, body, status: wanted = 200 }: Target, agent: Agent): Promise<string> {
  const { status, text } = await call(url, { agent, ...(headers && { headers }), ...(body !== undefined && { body }) });
  if (status !== wanted) throw new Error(`${status} ${text}`);
  return text;
}

/** Replaces all pods, and waits until the previous ones are gone. */
export async function rollOut(namespace: string, deployment: string): Promise<void> {
  const kubectl = `kubectl -n ${namespace}`;
  const pods = await run(`${kubectl} get pods -o name -l app.kubernetes.io/name=${deployment}`);
  await run(`${kubectl} rollout restart deployment/${deployment}
    ${kubectl} rollout status deployment/${deployment} --timeout=120s
    ${kubectl} wait --for=delete ${pods.trim().replaceAll('\n', ' ')} --timeout=120s`);
}
