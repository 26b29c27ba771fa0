import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { CambistError } from '../../../src/errors.ts';
import type { Prepared } from '../../../src/proxy/steps.ts';
import { callUpstream, type UpstreamCallOptions } from '../../../src/proxy/upstream-call.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import type { RawHandler } from '../../../src/transport/http1/upstream-request.ts';

function issued(name: string): IssuedToken {
  const lifetime = { expiresAtMs: 1e9, expiresAtMonotonicMs: 1e9 };
  return { authorization: new Secret(`Bearer ${name}`), granted: {}, lifetime } as unknown as IssuedToken;
}

/** A call with one attempt sent, and what it told its request and the connection. */
function setUp(stepUp?: Promise<never>) {
  const told: string[] = [];
  const attempts: RawHandler[] = [];
  const request = {
    isClosed: false,
    endIfRevoked: () => false,
    incoming: { method: 'POST', complete: true },
    onClosed: () => undefined,
    mayFail: true,
    respond: (_response: unknown, error: CambistError) => void told.push(error.code),
    record: { incoming: { method: 'POST', rawHeaders: [] } },
  };
  const credential = { kind: 'client_credentials', authorizationServer: {} };
  const upstream = { origin: 'https://backend' };
  const prepared = {
    request,
    route: { name: 'github', upstream, credential, subjectToken: {}, stepUp: ['repo'], timeouts: {} },
    target: {},
    path: '/',
    session: { subject: {} },
    headers: [],
    body: { content: null, replay: () => null },
    token: issued('first'),
  } as unknown as Prepared;
  const dispatch = (_options: unknown, handler: RawHandler) => void attempts.push(handler);
  callUpstream(prepared, {
    dispatchers: { for: () => ({ dispatch }) },
    clock: { wallMs: () => 0, monotonicMs: () => 0 },
    observer: { upstreamRetried: () => undefined },
    broker: {
      lookUp: () => ({ result: 'hit', token: issued('second') }),
      dropRefused: () => true,
      stepUp: () => stepUp,
    },
  } as unknown as UpstreamCallOptions);
  const rawHeaders = ['www-authenticate', 'Bearer error="insufficient_scope", scope="repo"'];
  const abort = (reason: Error) => void told.push(`aborted: ${reason.message}`);
  const controller = { rawHeaders, abort, pause() {}, resume() {} } as never;
  const attempt = attempts[0] as Required<RawHandler>;
  const respond = (status: number) => {
    attempt.onRequestStart(controller, {});
    attempt.onResponseStart(controller, status, {});
  };
  return { attempt, told, request, controller, respond };
}

test('sends nothing for a caller that left while the connection opened', () => {
  const { attempt, controller, told, request } = setUp();
  request.isClosed = true;
  attempt.onRequestStart(controller, {});
  assert.deepEqual(told, ['aborted: the attempt may not start']);
});

test('reads at most 64 KiB of a response that it drops', () => {
  const { attempt, controller, told, respond } = setUp();
  respond(401);
  attempt.onResponseData(controller, Buffer.alloc(64 * 1024));
  assert.deepEqual(told, []);
  attempt.onResponseData(controller, Buffer.alloc(1));
  assert.deepEqual(told, ['aborted: the refused response is too long']);
});

test('reports a failure that came while a step-up was decided', async () => {
  const { attempt, controller, told, respond } = setUp(Promise.reject(new Error('refused')));
  respond(403);
  attempt.onResponseError(controller, new Error('reset'));
  await setImmediate();
  assert.deepEqual(told, ['ERR_UPSTREAM_UNREACHABLE']);
});
