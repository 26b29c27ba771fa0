import assert from 'node:assert/strict';
import { describeError, type ErrorCode } from '../../src/error-catalogue.ts';
import { type FakeSetup, SETUP_ROUTE, SETUP_SERVER, type SetupCall, type SetupResponse } from './fake-setup.ts';
import { sumSamples } from './metric-samples.ts';
import { assertProblem } from './problem.ts';

/** The expected response to a request, and its expected side effects. */
export interface ExpectedProblem {
  code: ErrorCode;
  /** The default is `tools`; undefined if no route matches. */
  route?: string | undefined;
  /** `WWW-Authenticate` without the metadata URL. Required for 401, and absent otherwise. */
  challenge?: string;
  /** `Retry-After` of a 503. The default accepts any number of seconds. Absent for other statuses. */
  retryAfter?: string;
  /** Exchanges that fail with this code. */
  failedExchanges?: number;
  /** Requests at the token endpoint. */
  tokenRequests?: number;
  /** Requests that reach the upstream. */
  upstreamRequests?: number;
}

/** Text in the responses of authorization servers and upstreams. It must never reach a caller. */
export const CANARY = 'canary of another server';

/** Sends a request that must fail. Checks the response, the log line, the metrics, and the requests at the other servers. */
export async function provokeProblem(
  setup: FakeSetup,
  call: SetupCall,
  expected: ExpectedProblem,
): Promise<SetupResponse> {
  const { response, checkLog } = await provokeUnlogged(setup, call, expected);
  await checkLog();
  return response;
}

/** Like `provokeProblem`, but leaves the log line to `checkLog`. cambist writes lines together, four times a second. */
export async function provokeUnlogged(
  setup: FakeSetup,
  call: SetupCall,
  expected: ExpectedProblem,
): Promise<{ response: SetupResponse; checkLog: () => Promise<void> }> {
  const { code, failedExchanges = 0, tokenRequests = failedExchanges, upstreamRequests = 0 } = expected;
  const route = 'route' in expected ? expected.route : SETUP_ROUTE;
  const { status } = describeError(code);
  const outcome = status < 500 ? 'refused' : 'failed';
  const requestLabels = { route: route ?? '_unmatched', code: String(status), outcome };
  const exchangeLabels = { authorization_server: SETUP_SERVER, result: 'failure', error: code };
  const asked = setup.authorizationServer.requests.length;
  const forwarded = setup.upstream.requests.length;
  const before = await setup.cambist.metrics();

  const response = await setup.call(call);

  const after = await setup.cambist.metrics();
  const increase = (name: string, labels: Record<string, string>) =>
    sumSamples(after, name, labels) - sumSamples(before, name, labels);
  assertProblemResponse(response, expected);
  assertRevealsNothing(setup, response);
  assert.equal(increase('cambist_requests_total', requestLabels), 1, 'cambist_requests_total');
  assert.equal(increase('cambist_requests_total', {}), 1, 'cambist_requests_total of all routes');
  assert.equal(increase('cambist_exchanges_total', exchangeLabels), failedExchanges, 'cambist_exchanges_total');
  assert.equal(setup.authorizationServer.requests.length - asked, tokenRequests, 'token requests');
  assert.equal(setup.upstream.requests.length - forwarded, upstreamRequests, 'upstream requests');
  const checkLog = async (): Promise<void> => {
    const line = await setup.cambist.waitForLog(
      ({ msg, request_id }) => msg === 'request' && request_id === response.requestId,
    );
    assert.deepEqual(
      { route: line.route, status: line.status, outcome: line.outcome, error: line.error },
      { route, status, outcome, error: code },
      'the log line of the request',
    );
    assert.equal(line.level, status < 500 || code === 'ERR_OVERLOADED' ? 'warn' : 'error');
    setup.leaks.assertNoLeak({ stdout: setup.cambist.stdout(), stderr: setup.cambist.stderr(), metrics: after });
  };
  return { response, checkLog };
}

/** Checks the problem document (RFC 9457) and the headers that depend on the status. */
export function assertProblemResponse(
  response: SetupResponse,
  expected: Pick<ExpectedProblem, 'code' | 'challenge' | 'retryAfter'>,
): void {
  const { code, challenge, retryAfter } = expected;
  const { status } = describeError(code);
  assertProblem(response, code);
  assert.equal(response.headers['x-request-id'], response.requestId);
  assert.equal(withoutMetadata(response.headers['www-authenticate']), challenge);
  assert.equal(status === 401, challenge !== undefined, 'a test of a 401 must state the challenge');
  if (status !== 503) assert.equal(response.headers['retry-after'], undefined);
  else if (retryAfter !== undefined) assert.equal(response.headers['retry-after'], retryAfter);
  else assert.match(response.headers['retry-after'] ?? '', /^[1-9]\d*$/);
}

/** Checks that a response contains no address, no token, and no text of another server. */
export function assertRevealsNothing(setup: FakeSetup, response: SetupResponse): void {
  const { date: _date, 'www-authenticate': challenge, ...others } = response.headers;
  const headers = { ...others, challenge: withoutMetadata(challenge) };
  const content = `${JSON.stringify(headers)}\n${response.text}`;
  const ports = [setup.authorizationServer, setup.upstream].map(({ port }) => `:${port}`);
  for (const forbidden of ['127.0.0.1', 'localhost', '/mcp', '/token', 'ECONN', 'canary', ...ports]) {
    assert.ok(!content.includes(forbidden), `the response contains "${forbidden}": ${content}`);
  }
  setup.leaks.assertNoLeak({ response: content });
}

/** The metadata URL. It has the host that the caller used, so it reveals nothing. */
const METADATA = /,? resource_metadata="http:\/\/127\.0\.0\.1:\d+\/\.well-known\/oauth-protected-resource[\w/-]*"/;

function withoutMetadata(challenge: string | undefined): string | undefined {
  return challenge?.replace(METADATA, '');
}
