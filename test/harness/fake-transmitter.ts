import type { IncomingMessage, ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { sendResponse } from './faults.ts';

/** A poll, as the transmitter got it. */
export interface Poll {
  readonly maxEvents?: number;
  readonly returnImmediately?: boolean;
  readonly ack?: readonly string[];
  readonly setErrs?: Readonly<Record<string, { err: string; description: string }>>;
  /** The header `Content-Language`. */
  readonly language?: string | undefined;
}

export interface FakeTransmitter {
  /** For `respond` of a fake authorization server, which is the issuer. */
  readonly respond: (url: URL, request: IncomingMessage, response: ServerResponse) => boolean;
  /** Sends an event with each poll until it is acknowledged. */
  offer(jti: string, set: string): void;
  readonly polls: Poll[];
  /** Requests with this path. */
  count(path: string): number;
  /** The last `Authorization` header. */
  readonly authorization: () => string | undefined;
  /** The events that were not acknowledged yet. */
  readonly pending: ReadonlyMap<string, string>;
  /** The streams. Cambist creates the first one. */
  streams: Record<string, unknown>[];
  /** Fields of the metadata that differ. */
  metadata: Record<string, unknown>;
  status: 'enabled' | 'paused' | 'disabled';
  /** Responds to every request with this status, if it is set. */
  fault: number | undefined;
  /** Responds to polls at once, as Keycloak does. */
  isHasty: boolean;
  /** The responses to polls, if it is set. */
  pollBody: string | undefined;
  /** Called for each request for a verification event. */
  onVerify: (body: { stream_id: string; state: string }) => void;
}

/** The endpoints of a transmitter of Shared Signals, whose behaviour is set by the test. Its polls wait for an event. */
export function createFakeTransmitter(): FakeTransmitter {
  const pending = new Map<string, string>();
  const waiting = new Set<() => void>();
  const counts = new Map<string, number>();
  let authorization: string | undefined;

  const fake: FakeTransmitter = {
    respond(url, request, response) {
      if (!url.pathname.startsWith('/ssf/') && url.pathname !== '/.well-known/ssf-configuration') return false;
      counts.set(url.pathname, (counts.get(url.pathname) ?? 0) + 1);
      authorization = request.headers.authorization ?? authorization;
      handle(url, request, response).catch((error: unknown) => sendResponse(response, 500, String(error)));
      return true;
    },
    offer(jti, set) {
      pending.set(jti, set);
      for (const wake of waiting) wake();
    },
    polls: [],
    count: (path) => counts.get(path) ?? 0,
    authorization: () => authorization,
    pending,
    streams: [],
    metadata: {},
    status: 'enabled',
    fault: undefined,
    isHasty: false,
    pollBody: undefined,
    onVerify: () => {},
  };
  return fake;

  async function handle(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const issuer = `http://${request.headers.host}`;
    if (fake.fault !== undefined) return sendResponse(response, fake.fault, {});
    switch (url.pathname) {
      case '/.well-known/ssf-configuration': {
        const endpoints = {
          configuration_endpoint: `${issuer}/ssf/streams`,
          status_endpoint: `${issuer}/ssf/status`,
          verification_endpoint: `${issuer}/ssf/verify`,
        };
        return sendResponse(response, 200, { issuer, ...endpoints, ...fake.metadata });
      }
      case '/ssf/streams':
        return manage(request, response, issuer);
      case '/ssf/status':
        return sendResponse(response, 200, { stream_id: url.searchParams.get('stream_id'), status: fake.status });
      case '/ssf/verify':
        fake.onVerify((await json(request)) as { stream_id: string; state: string });
        return sendResponse(response, 204, '');
      case '/ssf/poll':
        return poll({ ...((await json(request)) as Poll), language: request.headers['content-language'] }, response);
      default:
        return sendResponse(response, 404, {});
    }
  }

  async function manage(request: IncomingMessage, response: ServerResponse, issuer: string): Promise<void> {
    if (request.method !== 'POST') return sendResponse(response, 200, fake.streams);
    const { delivery, ...more } = (await json(request)) as { delivery: object };
    const stream = {
      ...more,
      stream_id: 'stream-1',
      aud: 'cambist',
      delivery: { ...delivery, endpoint_url: `${issuer}/ssf/poll` },
    };
    fake.streams = [stream];
    return sendResponse(response, 201, stream);
  }

  async function poll(body: Poll, response: ServerResponse): Promise<void> {
    fake.polls.push(body);
    for (const jti of [...(body.ack ?? []), ...Object.keys(body.setErrs ?? {})]) pending.delete(jti);
    if (pending.size === 0 && body.returnImmediately !== true && !fake.isHasty && fake.pollBody === undefined) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          waiting.delete(wake);
          resolve();
        };
        waiting.add(wake);
        response.once('close', wake);
      });
    }
    const max = body.maxEvents ?? 100;
    const sets = Object.fromEntries([...pending].slice(0, max));
    if (fake.pollBody !== undefined) return sendResponse(response, 200, fake.pollBody);
    return sendResponse(response, 200, { sets, moreAvailable: pending.size > max });
  }
}
