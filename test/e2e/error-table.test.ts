import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { describeError, type ErrorCode } from '../../src/error-catalogue.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { type Fault, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import {
  type FakeSetup,
  SETUP_ROUTE,
  SETUP_SERVER,
  type SetupCall,
  type SetupResponse,
  startFakeSetup,
} from '../harness/fake-setup.ts';
import { assertProblem } from '../harness/http-call.ts';
import { freePort } from '../harness/http-server.ts';
import { sumSamples } from '../harness/metric-samples.ts';

interface ExpectedProblem {
  code: ErrorCode;
  /** `WWW-Authenticate` without the metadata URL. Required for 401, and absent otherwise. */
  challenge?: string;
  /** `Retry-After` of a 503. The default accepts any number of seconds. Absent for other statuses. */
  retryAfter?: string;
  failedExchanges?: number;
  tokenRequests?: number;
  upstreamRequests?: number;
}

/** Text in the responses of authorization servers and upstreams. It must never reach a caller. */
const CANARY = 'canary of another server';

/** Sends a request that must fail. Checks the response, the log line, the metrics, and the requests at the other servers. */
async function provokeProblem(setup: FakeSetup, call: SetupCall, expected: ExpectedProblem): Promise<SetupResponse> {
  const { response, checkLog } = await provokeUnlogged(setup, call, expected);
  await checkLog();
  return response;
}

/** Like `provokeProblem`, but leaves the log line to `checkLog`. cambist writes lines together, four times a second. */
async function provokeUnlogged(
  setup: FakeSetup,
  call: SetupCall,
  expected: ExpectedProblem,
): Promise<{ response: SetupResponse; checkLog: () => Promise<void> }> {
  const { code, failedExchanges = 0, tokenRequests = failedExchanges, upstreamRequests = 0 } = expected;
  const { status } = describeError(code);
  const outcome = status < 500 ? 'refused' : 'failed';
  const requestLabels = { route: SETUP_ROUTE, code: String(status), outcome };
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
      { route: SETUP_ROUTE, status, outcome, error: code },
      'the log line of the request',
    );
    assert.equal(line.level, status < 500 || code === 'ERR_OVERLOADED' ? 'warn' : 'error');
    setup.leaks.assertNoLeak({ stdout: setup.cambist.stdout(), stderr: setup.cambist.stderr(), metrics: after });
  };
  return { response, checkLog };
}

/** Checks the problem document (RFC 9457) and the headers that depend on the status. */
function assertProblemResponse(
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
function assertRevealsNothing(setup: FakeSetup, response: SetupResponse): void {
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

interface Row extends ExpectedProblem {
  when: string;
  call?: SetupCall;
  /** The response of the authorization server to the only token request. */
  fault?: Fault;
  upstream?: FakeSetup['upstream']['handler'];
}

const respond = (status: number, body: unknown, headers = {}): Fault => ({ kind: 'response', status, body, headers });
const INVALID_TOKEN = 'Bearer error="invalid_token"';

/** The integration tests have every code. These show each status, and that only the caller's own part of it gets out. */
const ROWS: Row[] = [
  {
    when: '401 for a request without a token',
    call: { headers: { authorization: [] } },
    code: 'ERR_SUBJECT_TOKEN_MISSING',
    challenge: 'Bearer',
  },
  {
    when: '401 for a refused token',
    fault: respond(400, { error: 'invalid_grant', error_description: CANARY }),
    code: 'ERR_SUBJECT_TOKEN_INVALID',
    challenge: INVALID_TOKEN,
    failedExchanges: 1,
  },
  {
    when: '403 for a refused backend',
    fault: respond(400, { error: 'invalid_target', error_description: CANARY }),
    code: 'ERR_EXCHANGE_REFUSED',
    failedExchanges: 1,
  },
  {
    when: '502 for a token response in HTML',
    fault: respond(200, `<h1>${CANARY}</h1>`),
    code: 'ERR_STS_RESPONSE_INVALID',
    failedExchanges: 1,
  },
  {
    when: '502 when the backend closes the connection, without a retry',
    upstream: (_request, response) => void response.destroy(),
    code: 'ERR_UPSTREAM_UNREACHABLE',
    tokenRequests: 1,
    upstreamRequests: 1,
  },
  {
    when: '503 when the authorization server asks for a pause',
    fault: respond(429, CANARY, { 'retry-after': '40' }),
    code: 'ERR_STS_UNAVAILABLE',
    retryAfter: '40',
    failedExchanges: 1,
  },
];

test('explains each error to the caller, in the log and in the metrics, and repeats no other server', async (t) => {
  const setup = await startFakeSetup(t);
  const { authorizationServer, upstream, cambist } = setup;
  const usual = upstream.handler;
  const known = await setup.bearer();
  assert.equal((await setup.call({ headers: known })).status, 200);

  const logChecks: (() => Promise<void>)[] = [];
  for (const { when, call, fault, upstream: handler = usual, ...expected } of ROWS) {
    await t.test(`returns ${when}`, async () => {
      if (fault !== undefined) authorizationServer.queue.push(fault);
      upstream.handler = handler;
      const headers = { ...(await setup.bearer()), ...call?.headers };
      const { response, checkLog } = await provokeUnlogged(setup, { ...call, headers }, expected);
      logChecks.push(checkLog);
      if (fault === undefined) return;
      logChecks.push(async () => {
        const exchange = await cambist.waitForLog(
          ({ msg, request_id }) => msg === 'exchange' && request_id === response.requestId,
        );
        assert.deepEqual(
          [exchange.authorization_server, exchange.result, exchange.error],
          [SETUP_SERVER, 'failure', expected.code],
        );
      });
    });
  }

  await t.test('logs each error', async () => {
    for (const checkLog of logChecks) await checkLog();
  });

  await t.test('uses cached tokens during the pause of the authorization server', async () => {
    assert.equal((await setup.call({ headers: known })).status, 200);
    const { headers } = await provokeProblem(
      setup,
      { headers: await setup.bearer() },
      { code: 'ERR_STS_UNAVAILABLE', failedExchanges: 0 },
    );
    const seconds = Number(headers['retry-after']);
    assert.ok(seconds > 0 && seconds <= 40, `Retry-After: ${seconds}`);
  });
});

test('refuses requests while audit records cannot be written, if audit.on_full is refuse', async (t) => {
  const audit = { to: { file: '/dev/full' }, on_full: 'refuse' };
  const setup = await startFakeSetup(t, { change: (config) => ({ ...config, audit }) });
  const headers = await setup.bearer();
  // The destination opens. It fails with the records of the first request.
  await setup.call({ headers });
  await setup.cambist.waitForLog(({ msg }) => msg === 'audit records cannot be written; refusing requests');
  await provokeProblem(setup, { headers }, { code: 'ERR_AUDIT_UNAVAILABLE' });
  assert.equal(await setup.cambist.metric('cambist_audit_writable', {}), 0);
});

test('refuses callers, and is not ready, before it has read which tokens are revoked', async (t) => {
  const port = await freePort();
  const setup = await startFakeSetup(t, {
    ready: false,
    files: { key: 'the key that all replicas of this test share' },
    change: (config, { authorizationServer, directory }) => ({
      ...config,
      cache: { shared: { url: `redis://127.0.0.1:${port}`, key: { file: `${directory}/key` } } },
      signals: {
        listen: '127.0.0.1:0',
        transmitters: { idp: { issuer: authorizationServer.issuer, audience: 'cambist', backchannel_logout: true } },
      },
    }),
  });
  const headers = await setup.bearer();
  await provokeProblem(setup, { headers }, { code: 'ERR_REVOCATIONS_UNKNOWN' });
  await setup.cambist.waitForLog(
    ({ msg, check, error }) => msg === 'not ready' && check === 'cache.shared' && error === 'ERR_REVOCATIONS_UNKNOWN',
  );
  const response = await fetch(`${setup.cambist.adminUrl}/readyz`);
  const { checks } = (await response.json()) as { checks: Record<string, string> };
  assert.deepEqual([response.status, checks['cache.shared']], [503, 'ERR_REVOCATIONS_UNKNOWN']);
  const status = (await (await fetch(`${setup.cambist.adminUrl}/status.json`)).json()) as {
    missing: { check: string; cause: string; fix: string }[];
    signals: { replicas: unknown };
  };
  const missing = status.missing.find(({ check }) => check === 'cache.shared');
  assert.match(missing?.cause ?? '', /which tokens are revoked: (?:unreachable|no response)/);
  assert.match(missing?.fix ?? '', /start the server/);
  assert.deepEqual(status.signals.replicas, { unshared: 0, in_sync: false, full: false });
});

/** @returns the failed readiness checks, with their errors */
async function unready({ cambist }: FakeSetup): Promise<Record<string, string>> {
  const readiness = await fetch(`${cambist.adminUrl}/readyz`);
  assert.equal(readiness.status, 503);
  const { checks } = (await readiness.json()) as { checks: Record<string, string> };
  return Object.fromEntries(Object.entries(checks).filter(([, state]) => state !== 'ready'));
}

const UNAVAILABLE = { code: 'ERR_CREDENTIAL_UNAVAILABLE' } as const;

test('starts without its credentials, is not ready until they exist, and serves other routes meanwhile', async (t) => {
  const content = 'Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4';
  const setup = await startFakeSetup(t, {
    ready: false,
    files: { key: `-----BEGIN PRIVATE KEY-----\n${content}\n-----END PRIVATE KEY-----\n` },
    change: (config, { upstream }) => ({
      ...config,
      authorization_servers: {
        ...config.authorization_servers,
        signed: {
          ...config.authorization_servers[SETUP_SERVER],
          client_auth: { method: 'private_key_jwt', private_key: { file: 'key' } },
        },
      },
      routes: [
        ...config.routes.map((route) => ({
          ...route,
          authorization_server: SETUP_SERVER,
          actor_token: { file: 'actor' },
          tls: { ca: { file: 'ca.pem' } },
        })),
        { name: 'signed', match: { path: '/signed' }, upstream: `${upstream.url}/mcp`, authorization_server: 'signed' },
        { name: 'open', match: { path: '/open' }, upstream: upstream.url, credential: 'none' },
      ],
    }),
  });
  setup.leaks.remember(content);
  const write = (name: string, text: string) => writeFile(join(setup.cambist.directory, name), text);
  const headers = await setup.bearer();
  const exchange = { failedExchanges: 1, tokenRequests: 0 };
  const tools = `routes.${SETUP_ROUTE}`;
  await provokeProblem(setup, { headers }, { ...UNAVAILABLE, ...exchange });
  const signed = await setup.call({ path: '/signed', headers });
  assert.equal(JSON.parse(signed.text).code, UNAVAILABLE.code);
  assert.deepEqual(await unready(setup), {
    'authorization_servers.signed': UNAVAILABLE.code,
    [`${tools}.actor_token`]: UNAVAILABLE.code,
    [`${tools}.tls`]: UNAVAILABLE.code,
  });
  assert.equal((await setup.call({ path: '/open' })).status, 200);

  await write('actor', await setup.subjectToken({ subject: 'cambist' }));
  await provokeProblem(setup, { headers }, { ...UNAVAILABLE, tokenRequests: 1 });
  await write('ca.pem', createCertificateAuthority().cert);
  await write(
    'key',
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  );
  await setup.cambist.ready();
  assert.equal((await setup.call({ headers })).status, 200);
  setup.leaks.assertNoLeak({ stdout: setup.cambist.stdout(), stderr: setup.cambist.stderr() });

  const other = { headers: await setup.bearer() };
  await rm(join(setup.cambist.directory, 'client-secret'));
  await provokeProblem(setup, other, { ...UNAVAILABLE, ...exchange });
  await write('client-secret', '\n');
  await provokeProblem(setup, other, { ...UNAVAILABLE, ...exchange });
  await write('client-secret', `${setup.clientSecret}\n`);
  assert.equal((await setup.call(other)).status, 200);
});

test('sends nothing to an authorization server whose certificate is untrusted', async (t) => {
  const server = await startFakeAuthorizationServer(t, { tls: createCertificateAuthority().issueServer() });
  const setup = await startFakeSetup(t, {
    ready: false,
    change: (config) => ({
      ...config,
      authorization_servers: {
        [SETUP_SERVER]: { ...config.authorization_servers[SETUP_SERVER], issuer: server.issuer },
      },
    }),
  });
  const expected = { code: 'ERR_STS_UNAVAILABLE', failedExchanges: 1, tokenRequests: 0 } as const;
  await provokeProblem(setup, { headers: await setup.bearer() }, expected);
  assert.deepEqual(server.requests, []);
});
