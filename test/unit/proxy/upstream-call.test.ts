import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import type { CambistError } from '../../../src/errors.ts';
import type { RequestRecord } from '../../../src/proxy/request-record.ts';
import type { ResponseRelay } from '../../../src/proxy/response-relay.ts';
import type { Prepared } from '../../../src/proxy/steps.ts';
import { callUpstream, type UpstreamCallOptions } from '../../../src/proxy/upstream-call.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import type { SteppedUp } from '../../../src/tokens/step-up.ts';
import type { RawHandler } from '../../../src/transport/http1/upstream-request.ts';

const CHALLENGE = ['www-authenticate', 'Bearer error="insufficient_scope", scope="repo"'];

function issued(name: string): IssuedToken {
  const lifetime = { expiresAtMs: 1e9, expiresAtMonotonicMs: 1e9 };
  return { authorization: new Secret(`Bearer ${name}`), granted: {}, lifetime } as unknown as IssuedToken;
}

interface Options {
  readonly isRevoked?: boolean;
  /** The tokens of later lookups. */
  readonly next?: IssuedToken[];
  readonly stepUp?: Promise<SteppedUp>;
}

/** A call with one attempt sent, and what it told its request, the broker and the connection. */
function setUp({ isRevoked = false, next = [], stepUp }: Options = {}) {
  const told: string[] = [];
  const relays: ResponseRelay[] = [];
  const listeners: (() => void)[] = [];
  const attempts: RawHandler[] = [];
  const request = {
    isClosed: false,
    isLastOfConnection: false,
    endIfRevoked: () => isRevoked,
    incoming: { method: 'POST', complete: true },
    active: { config: { session: { header: 'mcp-session-id' } } },
    abortUpstream: undefined as (() => void) | undefined,
    onClosed: (listener: () => void) => void listeners.push(listener),
    relay: (relay: ResponseRelay) => {
      told.push(`relay ${relay.status}`);
      relays.push(relay);
    },
    mayFail: true,
    respond: (_response: unknown, error: CambistError) => void told.push(error.code),
    record: { incoming: { method: 'POST', rawHeaders: [] } } as unknown as RequestRecord,
  };
  const prepared = {
    request,
    route: {
      name: 'github',
      upstream: { origin: 'https://backend' },
      credential: { kind: 'client_credentials', authorizationServer: {} },
      subjectToken: {},
      stepUp: ['repo'],
      timeouts: {},
    },
    target: {},
    path: '/',
    session: { subject: {} },
    headers: [],
    body: { content: null, replay: () => null },
    token: issued('first'),
  } as unknown as Prepared;
  const dispatch = ({ headers }: Dispatcher.DispatchOptions, handler: RawHandler): void => {
    told.push(`sent ${(headers as string[]).join(' ') || 'plain'}`);
    attempts.push(handler);
  };
  callUpstream(prepared, {
    dispatchers: { for: () => ({ dispatch }) },
    clock: { wallMs: () => 0, monotonicMs: () => 0 },
    observer: { upstreamRetried: () => void told.push('retried') },
    broker: {
      lookUp: () => ({ result: 'hit', token: next.shift() }),
      dropRefused: () => true,
      stepUp: () => stepUp,
    },
  } as unknown as UpstreamCallOptions);
  told.length = 0;
  const controller = {
    rawHeaders: [] as string[],
    abort: (reason: Error) => void told.push(`aborted: ${reason.message}`),
    pause: () => void told.push('paused'),
    resume: () => void told.push('resumed'),
  };
  const attempt = attempts[0] as Required<RawHandler>;
  return {
    attempt,
    attempts,
    told,
    relays,
    request,
    controller: controller as typeof controller & Dispatcher.DispatchController,
    respond(status: number, headers: string[] = []) {
      attempt.onRequestStart(controller as never, {});
      controller.rawHeaders = headers;
      attempt.onResponseStart(controller as never, status, {});
    },
    leave: () => {
      for (const listener of listeners) listener();
    },
  };
}

test('relays a response, and leaves nothing to abort after it', () => {
  const { attempt, controller, told, relays, request, respond } = setUp();
  respond(200, ['Content-Length', '2']);
  assert.equal(typeof request.abortUpstream, 'function');
  attempt.onResponseData(controller, Buffer.from('ok'));
  attempt.onResponseEnd(controller, {});
  assert.deepEqual(told, ['relay 200']);
  assert.equal(relays[0]?.header('content-length'), '2');
  assert.equal(request.abortUpstream, undefined);
});

test('aborts an attempt whose caller has left, at once or later', () => {
  const left = setUp();
  left.request.isClosed = true;
  left.attempt.onRequestStart(left.controller, {});
  assert.deepEqual(left.told, ['aborted: the attempt may not start']);
  const leaving = setUp();
  leaving.attempt.onRequestStart(leaving.controller, {});
  leaving.request.abortUpstream?.();
  assert.deepEqual(leaving.told, ['aborted: the caller left']);
});

test("sends nothing after the caller's token was revoked, and reports no failure then", () => {
  const { attempt, controller, told, request } = setUp({ isRevoked: true });
  attempt.onRequestStart(controller, {});
  attempt.onResponseError(controller, new Error('aborted'));
  assert.deepEqual(told, ['aborted: the attempt may not start']);
  assert.equal(request.abortUpstream, undefined);
});

test('refuses a transfer coding that it did not offer', () => {
  const { told, respond } = setUp();
  respond(200, ['Transfer-Encoding', 'gzip, chunked']);
  assert.deepEqual(told, ['aborted: the response has a transfer coding other than chunked']);
});

test('fails with the reason of a second 401', async () => {
  const { attempts, controller, told, respond } = setUp({ next: [issued('second')] });
  respond(401);
  await setImmediate();
  attempts[1]?.onRequestStart?.(controller, {});
  attempts[1]?.onResponseStart?.(controller, 401, {});
  await setImmediate();
  assert.deepEqual(told.slice(2), ['ERR_UPSTREAM_REFUSED_TOKEN']);
});

test('reads at most 64 KiB of a response that it drops, and none once its request is complete', () => {
  const { attempt, controller, told, respond, leave } = setUp({ next: [issued('second')] });
  respond(401);
  attempt.onResponseData(controller, Buffer.alloc(64 * 1024));
  assert.deepEqual(told, ['retried']);
  attempt.onResponseData(controller, Buffer.alloc(1));
  leave();
  assert.deepEqual(told.slice(1), ['aborted: the refused response is too long', 'aborted: the request is complete']);
});

test('holds a 403 until its step-up is decided, and drops it for a retry', async () => {
  const stepUp = Promise.resolve({ token: issued('wider'), added: ['repo'] });
  const { attempt, controller, told, request, respond } = setUp({ stepUp });
  respond(403, CHALLENGE);
  assert.deepEqual(told, ['paused']);
  await setImmediate();
  assert.deepEqual(told.slice(1), ['retried', 'sent authorization Bearer wider', 'resumed']);
  assert.deepEqual(request.record.stepUp, ['repo']);
  attempt.onResponseError(controller, new Error('late'));
  assert.equal(told.length, 4);
});

test('relays a 403 whose step-up failed, even if it was complete before', async () => {
  const { attempt, controller, told, respond } = setUp({ stepUp: Promise.reject(new Error('refused')) });
  respond(403, CHALLENGE);
  attempt.onResponseEnd(controller, {});
  await setImmediate();
  assert.deepEqual(told, ['paused', 'relay 403', 'resumed']);
});

test('reports a failure that came while a step-up was decided', async () => {
  const { attempt, controller, told, respond } = setUp({ stepUp: Promise.reject(new Error('refused')) });
  respond(403, CHALLENGE);
  attempt.onResponseError(controller, new Error('reset'));
  await setImmediate();
  assert.deepEqual(told, ['paused', 'ERR_UPSTREAM_UNREACHABLE']);
});

test('reports a failure before the response, and breaks off a response that has begun', async () => {
  const before = setUp();
  before.attempt.onRequestStart(before.controller, {});
  before.attempt.onResponseError(before.controller, new Error('reset'));
  await setImmediate();
  assert.deepEqual(before.told, ['ERR_UPSTREAM_UNREACHABLE']);
  const after = setUp();
  after.respond(200);
  after.attempt.onResponseError(after.controller, new Error('reset'));
  assert.deepEqual(after.told, ['relay 200']);
  assert.equal(after.relays[0]?.hasFailed(), true);
});
