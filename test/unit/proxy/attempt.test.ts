import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Dispatcher } from 'undici';
import { Attempt, type AttemptOwner } from '../../../src/proxy/attempt.ts';
import type { RefusedResponse } from '../../../src/proxy/refused-response.ts';
import type { ResponseRelay } from '../../../src/proxy/response-relay.ts';
import type { AttemptPlan } from '../../../src/proxy/send.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';

const CHALLENGE = 'Bearer error="insufficient_scope", scope="repo"';

interface Options {
  readonly token?: Partial<IssuedToken> | null;
  readonly hasNewToken?: boolean;
  readonly isClosed?: boolean;
  readonly mayStart?: boolean;
  /** Response headers, names and values in turn. */
  readonly headers?: string[];
  /** Whether a step-up replaces the response. */
  readonly stepUp?: Promise<boolean>;
}

/** An attempt, and what it told its request and its connection. */
function setUp({
  token = {},
  hasNewToken = false,
  isClosed = false,
  mayStart = true,
  headers = [],
  stepUp,
}: Options = {}) {
  const told: string[] = [];
  const relays: ResponseRelay[] = [];
  const listeners: (() => void)[] = [];
  const refused: RefusedResponse[] = [];
  const request = {
    isClosed,
    isLastOfConnection: false,
    incoming: { method: 'POST', complete: true },
    abortUpstream: undefined as (() => void) | undefined,
    onClosed: (listener: () => void) => void listeners.push(listener),
    relay: (relay: ResponseRelay) => {
      told.push(`relay ${relay.status}`);
      relays.push(relay);
    },
    lacksScopes: (scopes: string) => void told.push(`lacks ${scopes}`),
  };
  const owner = {
    admitted: {
      request,
      route: { upstream: { origin: 'https://backend' }, credential: { kind: 'passthrough' }, subjectToken: {} },
      target: {},
      path: '/',
    },
    switched: undefined,
    mayStart: () => mayStart,
    unauthorized: (_plan: AttemptPlan, wantsNonce: boolean, response: RefusedResponse) => {
      told.push(wantsNonce ? 'unauthorized, wants a nonce' : 'unauthorized');
      refused.push(response);
    },
    stepUp: () => stepUp,
    followSession: () => undefined,
    fail: (error: Error) => void told.push(`failed: ${error.message}`),
  };
  const issued = token && { authorization: new Secret('Bearer issued-token'), ...token };
  const plan = { token: issued ?? undefined, hasNewToken } as AttemptPlan;
  const attempt = new Attempt(owner as unknown as AttemptOwner, plan);
  const controller = {
    rawHeaders: headers,
    abort: (reason: Error) => void told.push(`aborted: ${reason.message}`),
    pause: () => void told.push('paused'),
    resume: () => void told.push('resumed'),
  } as unknown as Dispatcher.DispatchController;
  return {
    attempt,
    controller,
    told,
    relays,
    request,
    refused,
    leave: () => {
      for (const listener of listeners) listener();
    },
  };
}

test('relays a response, and leaves nothing to abort after it', () => {
  const { attempt, controller, told, relays, request } = setUp({ headers: ['Content-Length', '2'] });
  attempt.onRequestStart(controller);
  assert.equal(typeof request.abortUpstream, 'function');
  attempt.onResponseStart(controller, 200);
  attempt.onResponseData(controller, Buffer.from('ok'));
  attempt.onResponseEnd();
  assert.deepEqual(told, ['relay 200']);
  assert.equal(relays[0]?.header('content-length'), '2');
  assert.equal(request.abortUpstream, undefined);
});

test('aborts an attempt whose caller has left, at once or later', () => {
  const left = setUp({ isClosed: true });
  left.attempt.onRequestStart(left.controller);
  assert.deepEqual(left.told, ['aborted: the caller left']);
  const leaving = setUp();
  leaving.attempt.onRequestStart(leaving.controller);
  leaving.request.abortUpstream?.();
  assert.deepEqual(leaving.told, ['aborted: the caller left']);
});

test('sends nothing where another attempt replaces it, and reports no failure then', () => {
  const { attempt, controller, told, request } = setUp({ mayStart: false });
  attempt.onRequestStart(controller);
  attempt.onResponseError(controller, new Error('aborted'));
  assert.deepEqual(told, ['aborted: the attempt may not start']);
  assert.equal(request.abortUpstream, undefined);
});

test('refuses a transfer coding that it did not offer', () => {
  const { attempt, controller, told } = setUp({ headers: ['Transfer-Encoding', 'gzip, chunked'] });
  attempt.onRequestStart(controller);
  attempt.onResponseStart(controller, 200);
  assert.deepEqual(told, ['aborted: the response has a transfer coding other than chunked']);
});

test('drops a 401 to an issued token, and keeps its reason', async () => {
  const headers = ['WWW-Authenticate', 'Bearer error="invalid_token", error_description="expired"'];
  const { attempt, controller, told, refused } = setUp({ headers });
  attempt.onRequestStart(controller);
  attempt.onResponseStart(controller, 401);
  attempt.onResponseData(controller, Buffer.from('no'));
  attempt.onResponseEnd();
  attempt.onResponseError(controller, new Error('late'));
  assert.deepEqual(told, ['unauthorized']);
  assert.deepEqual(await refused[0]?.reason(), { error: 'invalid_token', description: 'expired' });
});

test('relays a 401 where it sent no token', () => {
  const { attempt, controller, told } = setUp({ token: null });
  attempt.onRequestStart(controller);
  attempt.onResponseStart(controller, 401);
  assert.deepEqual(told, ['relay 401']);
});

test('reads at most 64 KiB of a response that it drops, and none once its request is complete', () => {
  const { attempt, controller, told, leave } = setUp();
  attempt.onRequestStart(controller);
  attempt.onResponseStart(controller, 401);
  attempt.onResponseData(controller, Buffer.alloc(64 * 1024));
  assert.deepEqual(told, ['unauthorized']);
  attempt.onResponseData(controller, Buffer.alloc(1));
  leave();
  assert.deepEqual(told.slice(1), [
    'aborted: the response to a refused request is too long',
    'aborted: the request is complete',
  ]);
});

for (const [what, challenge, isLearned, expected] of [
  ['a nonce that it learned', 'DPoP error="use_dpop_nonce"', true, 'unauthorized, wants a nonce'],
  ['a nonce without the value of one', 'DPoP error="use_dpop_nonce"', false, 'unauthorized'],
  ['another token', 'DPoP error="invalid_token"', true, 'unauthorized'],
] as const) {
  test(`tells apart a 401 that asks for ${what}`, () => {
    const learned: unknown[] = [];
    const dpop = {
      prove: async () => '',
      learn: (origin: string, nonce: string | undefined) => {
        learned.push([origin, nonce]);
        return isLearned;
      },
    };
    const { attempt, controller, told } = setUp({
      token: { dpop },
      headers: ['WWW-Authenticate', challenge, 'DPoP-Nonce', 'n-1'],
    });
    attempt.onRequestStart(controller);
    attempt.onResponseStart(controller, 401);
    assert.deepEqual([told, learned], [[expected], [['https://backend', 'n-1']]]);
  });
}

test('relays a 403 that asks for no scopes', () => {
  const { attempt, controller, told } = setUp();
  attempt.onRequestStart(controller);
  attempt.onResponseStart(controller, 403);
  assert.deepEqual(told, ['relay 403']);
});

test('holds a 403 until its step-up is decided, and drops it for a retry', async () => {
  const { attempt, controller, told } = setUp({ stepUp: Promise.resolve(true) });
  attempt.onRequestStart(controller);
  attempt.onResponseStart(controller, 403);
  assert.deepEqual(told, ['paused']);
  await undefined;
  assert.deepEqual(told, ['paused', 'resumed']);
  attempt.onResponseError(controller, new Error('late'));
  assert.equal(told.length, 2);
});

test('relays a 403 whose step-up failed, even if it was complete before', async () => {
  const { attempt, controller, told } = setUp({
    stepUp: Promise.resolve(false),
    headers: ['www-authenticate', CHALLENGE],
  });
  attempt.onRequestStart(controller);
  attempt.onResponseStart(controller, 403);
  attempt.onResponseEnd();
  await undefined;
  assert.deepEqual(told, ['paused', 'lacks repo', 'relay 403', 'resumed']);
});

test('reports a failure that came while a step-up was decided', async () => {
  const { attempt, controller, told } = setUp({ stepUp: Promise.resolve(false) });
  attempt.onRequestStart(controller);
  attempt.onResponseStart(controller, 403);
  attempt.onResponseError(controller, new Error('reset'));
  await undefined;
  assert.deepEqual(told, ['paused', 'failed: reset']);
});

test('asks for no second step-up with a new token', () => {
  const { attempt, controller, told } = setUp({ hasNewToken: true, stepUp: Promise.resolve(true) });
  attempt.onRequestStart(controller);
  attempt.onResponseStart(controller, 403);
  assert.deepEqual(told, ['relay 403']);
});

test('reports a failure before the response, and breaks off a response that has begun', () => {
  const before = setUp();
  before.attempt.onRequestStart(before.controller);
  before.attempt.onResponseError(before.controller, new Error('reset'));
  assert.deepEqual(before.told, ['failed: reset']);
  const after = setUp();
  after.attempt.onRequestStart(after.controller);
  after.attempt.onResponseStart(after.controller, 200);
  after.attempt.onResponseError(after.controller, new Error('reset'));
  assert.deepEqual(after.told, ['relay 200']);
  assert.equal(after.relays[0]?.hasFailed(), true);
});
