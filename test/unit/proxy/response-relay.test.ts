import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Dispatcher } from 'undici';
import { describeError, ERROR_CODES } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { drain, settledWithin } from '../../../src/proxy/drain.ts';
import { asCambistError, errorResponse } from '../../../src/proxy/own-response.ts';
import type { RequestTracker } from '../../../src/proxy/request-tracker.ts';
import { createResponseRelay, type ResponseRelay } from '../../../src/proxy/response-relay.ts';
import { MAX_TEXT_BYTES } from '../../../src/transport/http1/write-request.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { collectGarbage } from '../../harness/heap.ts';
import { connectRaw } from '../../harness/http-call.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import { loggerWithLines } from '../observability/log-lines.ts';

const CONTROLLER = { pause() {}, resume() {} } as Dispatcher.DispatchController;

/** Repeats all 256 byte values. */
function bytesOf(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => index % 256));
}

/** The bytes of a relayed response as the caller reads them. */
async function relayed(t: TestContext, length: number, relay: (answer: ResponseRelay) => void) {
  const server = await startHttpServer((_, response) => {
    const answer = createResponseRelay(CONTROLLER, 200, ['content-length', String(length)], () => true);
    answer.start(response);
    relay(answer);
  });
  t.after(server.close);
  const connection = await connectRaw(server.url);
  t.after(() => connection.socket.destroy());
  connection.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  const [headEnd, all] = ['\r\n\r\n', connection.received];
  return {
    hasEnded: () => connection.socket.closed,
    head: () => all().split(headEnd)[0] ?? '',
    body: () => Buffer.from(all().includes(headEnd) ? all().slice(all().indexOf(headEnd) + 4) : 'none yet', 'latin1'),
  };
}

for (const lengths of [
  ...[[], [1], [256], [MAX_TEXT_BYTES - 1], [MAX_TEXT_BYTES], [MAX_TEXT_BYTES + 1], [3 * MAX_TEXT_BYTES]],
  [10, 3, MAX_TEXT_BYTES + 1, 7],
]) {
  test(`relays a response of ${lengths.join(' and ') || 0} bytes that arrives at once unchanged`, async (t) => {
    const pieces = lengths.map(bytesOf);
    const whole = Buffer.concat(pieces);
    const caller = await relayed(t, whole.length, (relay) => {
      for (const piece of pieces) relay.data(piece);
      relay.end();
    });
    await eventually('its body', () => caller.body().length === whole.length);
    assert.match(caller.head(), /^HTTP\/1\.1 200 /);
    assert.deepEqual(caller.body(), whole);
  });
}

test('relays the headers before the body arrives, and its first bytes before the rest', async (t) => {
  let answer: ResponseRelay | undefined;
  const caller = await relayed(t, 20, (relay) => {
    answer = relay;
  });
  await eventually('its headers', () => caller.head().includes('content-length: 20'));
  answer?.data(bytesOf(10));
  await eventually('its beginning', () => caller.body().equals(bytesOf(10)));
  answer?.data(bytesOf(10));
  answer?.end();
  await eventually('the rest', () => caller.body().equals(Buffer.concat([bytesOf(10), bytesOf(10)])));
});

test('relays the received bytes of a response before its upstream fails', async (t) => {
  const caller = await relayed(t, 20, (relay) => {
    relay.data(bytesOf(10));
    process.nextTick(() => relay.fail());
  });
  await eventually('the response is complete', caller.hasEnded);
  assert.deepEqual(caller.body(), bytesOf(10));
});

test('does not keep the first bytes of a stream', async (t) => {
  let answer: ResponseRelay | undefined;
  let began: WeakRef<Buffer> | undefined;
  const caller = await relayed(t, 20, (relay) => {
    const bytes = bytesOf(10);
    began = new WeakRef(bytes);
    relay.data(bytes);
    answer = relay;
  });
  await eventually('its beginning', () => caller.body().equals(bytesOf(10)));
  await eventually('it is forgotten', () => {
    collectGarbage();
    return began?.deref() === undefined;
  });
  answer?.data(bytesOf(10));
  answer?.end();
  await eventually('the rest', () => caller.body().length === 20);
});

const SECRET_TEXT = 'connect ECONNREFUSED 10.0.0.7:443 with token abc.def.ghi';

test('returns exactly the six fields of the code, a challenge with 401 alone, and Retry-After with 503 alone', () => {
  for (const code of ERROR_CODES) {
    const error = new CambistError(code, SECRET_TEXT, { cause: new Error(SECRET_TEXT), oauthError: SECRET_TEXT });
    const { status, reason, headers, body } = errorResponse(error, 'request-1');
    const { title, detail } = describeError(code);
    assert.equal(status, describeError(code).status);
    assert.match(reason ?? '', new RegExp(`^[A-Z][A-Za-z -]+ \\(${code}\\)$`));
    const type = `urn:cambist:error:${code}`;
    assert.deepEqual(JSON.parse(body), { type, title, status, detail, code, request_id: 'request-1' });
    assert.equal(headers['content-type'], 'application/problem+json');
    assert.equal(headers['x-request-id'], 'request-1');
    assert.ok(!JSON.stringify(headers).includes('ECONNREFUSED'));
    assert.equal('www-authenticate' in headers, status === 401, code);
    assert.equal(/^[1-9]\d*$/.test(headers['retry-after'] ?? ''), status === 503, code);
    assert.equal('retry-after' in headers, status === 503, code);
  }
  const error = new CambistError('ERR_STS_UNAVAILABLE', '', { retryAfterSeconds: 17 });
  assert.equal(errorResponse(error, 'r').headers['retry-after'], '17');
});

test('names the fault of the token in the challenge', () => {
  const claims = '{"access_token":{"acr":"2\u20ac"}}';
  for (const [code, options, challenge] of [
    ['ERR_SUBJECT_TOKEN_MISSING', {}, 'realm="cambist"'],
    ['ERR_SUBJECT_TOKEN_INVALID', {}, 'error="invalid_token"'],
    [
      'ERR_SUBJECT_TOKEN_INVALID',
      { expired: true },
      'error="invalid_token", error_description="The access token expired"',
    ],
    [
      'ERR_INTERACTION_REQUIRED',
      { claims },
      `error="insufficient_claims", claims="${Buffer.from(claims).toString('base64')}"`,
    ],
  ] as const) {
    const { headers, body } = errorResponse(new CambistError(code, '', options), 'r');
    assert.equal(headers['www-authenticate'], `Bearer ${challenge}`);
    if ('expired' in options) assert.match(body, /"The caller's token is expired: obtain a new one\."/);
  }
});

test('keeps a CambistError, also as the cause of another error', () => {
  const error = new CambistError('ERR_UPSTREAM_TLS', 'x');
  assert.equal(asCambistError(error), error);
  assert.equal(asCambistError(new Error('wrapped', { cause: error })), error);
});

test('turns any other error into ERR_INTERNAL and keeps its cause for the log', () => {
  for (const thrown of [new TypeError('x'), 'text', undefined, null, { code: 'ERR_UPSTREAM_TLS' }]) {
    const error = asCambistError(thrown);
    assert.equal(error.code, 'ERR_INTERNAL');
    assert.equal(error.cause, thrown);
  }
});

const START_MS = Date.parse('2026-11-24T12:00:00Z');

/** Drains a tracker with these requests, and with a grace of half a second. Returns when the first step is taken. */
async function start(t: TestContext, inFlight: number, hurry?: AbortSignal, connections = () => 0) {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { promise: drained, resolve: settle } = deferred<void>();
  const tracker = { inFlight, openStreams: 1, isLeaving: false, drain: () => drained };
  const { logger, lines } = loggerWithLines();
  const clock = createFakeClock(START_MS);
  const ended = drain([tracker as unknown as RequestTracker], { clock, graceMs: 500, hurry, logger, connections });
  await new Promise(setImmediate);
  const messages = () => lines.map(({ msg }) => String(msg).split(';')[0]);
  const messagesAfter = async (ms: number) => {
    t.mock.timers.tick(ms);
    await new Promise(setImmediate);
    return messages();
  };
  return { tracker, settle, ended, lines, messages, messagesAfter };
}

test('says how many requests it waits for, until when, and that the time has elapsed', async (t) => {
  const { ended, lines, messages } = await start(t, 2);
  const [{ in_flight, open_streams, until } = {}] = lines;
  assert.deepEqual([in_flight, open_streams, until], [2, 1, new Date(START_MS + 500).toISOString()]);
  t.mock.timers.tick(500);
  await ended;
  assert.deepEqual(messages(), ['draining requests in flight', 'shutdown grace elapsed']);
});

test('first serves requests while connections are left, for half of a short grace', async (t) => {
  let open = 1;
  const gone = await start(t, 2, undefined, () => open);
  assert.deepEqual([gone.tracker.isLeaving, gone.messages()], [true, []]);
  open = 0;
  assert.deepEqual(await gone.messagesAfter(150), []);
  assert.deepEqual(await gone.messagesAfter(50), ['draining requests in flight']);
  t.mock.timers.reset();

  const stays = await start(t, 2, undefined, () => 1);
  assert.deepEqual(await stays.messagesAfter(249), []);
  assert.deepEqual(await stays.messagesAfter(1), ['draining requests in flight']);
});

test('waits no longer than the requests take, and logs nothing where none is in flight', async (t) => {
  for (const [inFlight, expected] of [
    [2, ['draining requests in flight']],
    [0, []],
  ] as const) {
    const { tracker, settle, ended, messages } = await start(t, inFlight);
    tracker.inFlight = 0;
    settle();
    await ended;
    assert.deepEqual(messages(), expected);
    t.mock.timers.reset();
  }
});

test('waits no longer once it must hurry, and not at all from the start, as exec at the end of its command', async (t) => {
  const hurry = new AbortController();
  const { ended, messages } = await start(t, 2, hurry.signal);
  hurry.abort();
  await ended;
  assert.deepEqual(messages(), ['draining requests in flight', 'second signal']);
  t.mock.timers.reset();
  const atOnce = await start(t, 2, AbortSignal.abort());
  await atOnce.ended;
  assert.deepEqual(atOnce.messages(), []);
});

test('waits no longer when the time is already over, and gives Node no negative time to warn about', async (t) => {
  const { mock } = t.mock.method(globalThis, 'setTimeout');
  await settledWithin(deferred<void>().promise, -5, undefined);
  assert.deepEqual(
    mock.calls.map(({ arguments: [, ms] }) => ms),
    [0],
  );
});
