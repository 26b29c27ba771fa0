import assert from 'node:assert/strict';
import { describeError, type ErrorCode } from '../../src/errors.ts';
import { sumSamples } from './metric-samples.ts';
import { assertProblem } from './problem.ts';
import { SCENE_ROUTE, SCENE_SERVER, type Scene, type SceneAnswer, type SceneCall } from './scene.ts';

/** What cambist is to answer a request with, and what it is to leave behind. */
export interface ExpectedProblem {
  code: ErrorCode;
  /** `tools` by default; undefined: no route. */
  route?: string | undefined;
  /** `WWW-Authenticate` less where our metadata is; every 401 has one, no other answer has. */
  challenge?: string;
  /** By default any number of seconds where the status is 503; no other answer has one. */
  retryAfter?: string;
  /** Exchanges that fail with this very code. */
  failedExchanges?: number;
  /** Requests at the token endpoint. */
  tokenRequests?: number;
  /** Requests that reach the upstream. */
  upstreamRequests?: number;
}

/** The text that a test puts into what an authorization server or an upstream says: no caller may ever see it. */
export const CANARY = 'canary of another server';

/** Sends a request that must fail, and holds to it the answer, the log line, the metrics and what went on elsewhere. */
export async function provokeProblem(scene: Scene, call: SceneCall, expected: ExpectedProblem): Promise<SceneAnswer> {
  const { code, failedExchanges = 0, tokenRequests = failedExchanges, upstreamRequests = 0 } = expected;
  const route = 'route' in expected ? expected.route : SCENE_ROUTE;
  const { status } = describeError(code);
  const outcome = status < 500 ? 'refused' : 'failed';
  const requestLabels = { route: route ?? '_unmatched', code: String(status), outcome };
  const exchangeLabels = { authorization_server: SCENE_SERVER, result: 'failure', error: code };
  const asked = scene.authorizationServer.requests.length;
  const forwarded = scene.upstream.requests.length;
  const before = await scene.cambist.metrics();

  const answer = await scene.call(call);

  const after = await scene.cambist.metrics();
  const moved = (name: string, labels: Record<string, string>) =>
    sumSamples(after, name, labels) - sumSamples(before, name, labels);
  assertProblemAnswer(answer, expected);
  assertSaysNothing(scene, answer);
  const line = await scene.cambist.waitForLog(
    ({ msg, request_id }) => msg === 'request' && request_id === answer.requestId,
  );
  assert.deepEqual(
    { route: line.route, status: line.status, outcome: line.outcome, error: line.error },
    { route, status, outcome, error: code },
    'the log line of the request',
  );
  assert.equal(line.level, status < 500 || code === 'ERR_OVERLOADED' ? 'warn' : 'error');
  assert.equal(moved('cambist_requests_total', requestLabels), 1, 'cambist_requests_total');
  assert.equal(moved('cambist_requests_total', {}), 1, 'cambist_requests_total, all of it');
  assert.equal(moved('cambist_exchanges_total', exchangeLabels), failedExchanges, 'cambist_exchanges_total');
  assert.equal(scene.authorizationServer.requests.length - asked, tokenRequests, 'token requests');
  assert.equal(scene.upstream.requests.length - forwarded, upstreamRequests, 'upstream requests');
  scene.leaks.assertNoLeak({ stdout: scene.cambist.stdout(), stderr: scene.cambist.stderr(), metrics: after });
  return answer;
}

/** RFC 9457, and the headers that go with the status. */
export function assertProblemAnswer(
  answer: SceneAnswer,
  expected: Pick<ExpectedProblem, 'code' | 'challenge' | 'retryAfter'>,
): void {
  const { code, challenge, retryAfter } = expected;
  const { status } = describeError(code);
  assertProblem(answer, code);
  assert.equal(answer.headers['x-request-id'], answer.requestId);
  assert.equal(withoutMetadata(answer.headers['www-authenticate']), challenge);
  assert.equal(status === 401, challenge !== undefined, 'a test of a 401 names its challenge');
  if (status !== 503) assert.equal(answer.headers['retry-after'], undefined);
  else if (retryAfter !== undefined) assert.equal(answer.headers['retry-after'], retryAfter);
  else assert.match(answer.headers['retry-after'] ?? '', /^[1-9]\d*$/);
}

/** No address, no token, nothing that another server said. */
export function assertSaysNothing(scene: Scene, answer: SceneAnswer): void {
  const { date: _date, 'www-authenticate': challenge, ...others } = answer.headers;
  const headers = { ...others, challenge: withoutMetadata(challenge) };
  const said = `${JSON.stringify(headers)}\n${answer.text}`;
  const places = [scene.authorizationServer, scene.upstream].map(({ port }) => `:${port}`);
  for (const unspeakable of ['127.0.0.1', 'localhost', '/mcp', '/token', 'ECONN', 'canary', ...places]) {
    assert.ok(!said.includes(unspeakable), `the answer says "${unspeakable}": ${said}`);
  }
  scene.leaks.assertNoLeak({ answer: said });
}

/** The URL at which a caller finds out who issues its tokens: its own address for us, so no secret. */
const METADATA = /,? resource_metadata="http:\/\/127\.0\.0\.1:\d+\/\.well-known\/oauth-protected-resource[\w/-]*"/;

function withoutMetadata(challenge: string | undefined): string | undefined {
  return challenge?.replace(METADATA, '');
}
