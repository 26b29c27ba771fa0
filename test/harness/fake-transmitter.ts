import type { IncomingMessage, ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { sendResponse } from './fake-authorization-server.ts';
import { call } from './http-call.ts';

/** The event of a Logout Token. */
export const LOGOUT = { 'http://schemas.openid.net/event/backchannel-logout': {} };

/** Posts a Logout Token as the transmitter `idp`. @param url of the listener for signals */
export function postLogout(url: string | undefined, token: string) {
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  return call(`${url}/logout/idp`, { headers, body: new URLSearchParams({ logout_token: token }).toString() });
}

/** Posts an event as the transmitter `idp`. */
export function postEvent(url: string | undefined, token: string, headers: Readonly<Record<string, string>> = {}) {
  return call(`${url}/events/idp`, {
    headers: { 'content-type': 'application/secevent+jwt', ...headers },
    body: token,
  });
}

/** A poll, as the transmitter got it. */
interface Poll {
  readonly maxEvents?: number;
  readonly returnImmediately?: boolean;
  readonly ack?: readonly string[];
  readonly setErrs?: Readonly<Record<string, { err: string; description: string }>>;
  /** The header `Content-Language`. */
  readonly language?: string | undefined;
}

/** The endpoint for polls of a transmitter of Shared Signals, whose behaviour is set by the test. Its polls wait for an event. */
export function createFakeTransmitter() {
  const pending = new Map<string, string>();
  const waiting = new Set<() => void>();
  let authorization: string | undefined;

  const fake = {
    /** Goes into `respond` of a fake authorization server, which is the issuer. */
    respond(url: URL, request: IncomingMessage, response: ServerResponse): boolean {
      if (url.pathname !== '/ssf/poll') return false;
      authorization = request.headers.authorization ?? authorization;
      handle(request, response).catch((error: unknown) => sendResponse(response, 500, String(error)));
      return true;
    },
    /** Sends an event with each poll until it is acknowledged. */
    offer(jti: string, set: string) {
      pending.set(jti, set);
      for (const wake of waiting) wake();
    },
    polls: [] as Poll[],
    /** The last `Authorization` header. */
    authorization: () => authorization,
    /** The events that were not acknowledged yet. */
    pending: pending as ReadonlyMap<string, string>,
    /** Responds to every request with this status, if it is set. */
    fault: undefined as number | undefined,
    /** Responds to polls at once, as Keycloak does. */
    isHasty: false,
  };
  return fake;

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (fake.fault !== undefined) return sendResponse(response, fake.fault, {});
    return poll({ ...((await json(request)) as Poll), language: request.headers['content-language'] }, response);
  }

  async function poll(body: Poll, response: ServerResponse): Promise<void> {
    fake.polls.push(body);
    for (const jti of [...(body.ack ?? []), ...Object.keys(body.setErrs ?? {})]) pending.delete(jti);
    if (pending.size === 0 && body.returnImmediately !== true && !fake.isHasty) {
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
    return sendResponse(response, 200, { sets, moreAvailable: pending.size > max });
  }
}
