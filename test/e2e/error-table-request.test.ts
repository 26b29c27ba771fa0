import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ExpectedProblem, provokeProblem, provokeUnlogged } from '../harness/expected-problem.ts';
import { type SetupCall, startFakeSetup } from '../harness/fake-setup.ts';

const INVALID_TOKEN = 'Bearer error="invalid_token"';

test('refuses an invalid request without a token request', async (t) => {
  const setup = await startFakeSetup({
    change: (config, { upstream }) => ({
      ...config,
      routes: [
        ...config.routes,
        {
          name: 'elsewhere',
          match: { path: '/elsewhere' },
          upstream: upstream.url,
          subject_token: { header: 'x-user-token' },
        },
      ],
    }),
  });
  t.after(setup.close);
  const token = await setup.subjectToken();
  const authorization = `Bearer ${token}`;

  const logChecks: (() => Promise<void>)[] = [];
  const provoke = async (call: SetupCall, expected: ExpectedProblem): Promise<void> => {
    logChecks.push((await provokeUnlogged(setup, call, expected)).checkLog);
  };

  for (const path of ['/', '/toolsmith', '/tools/../tools', '/tools/%2e%2e/x', '/TOOLS']) {
    await t.test(`returns 403 for a path without a route: ${path}`, async () => {
      await provoke({ path, headers: { authorization } }, { code: 'ERR_ROUTE_NOT_FOUND', route: undefined });
    });
  }

  await t.test('returns 403 for TRACE, because its response would contain the issued token', async () => {
    const headers = { authorization };
    await provoke({ method: 'TRACE', headers }, { code: 'ERR_ROUTE_NOT_FOUND', route: undefined });
  });

  await t.test('returns a Bearer challenge for a request without a token', async () => {
    await provoke({}, { code: 'ERR_SUBJECT_TOKEN_MISSING', challenge: 'Bearer' });
  });

  await t.test('treats credentials of another scheme as a missing token', async () => {
    await provoke(
      { headers: { authorization: 'Basic dXNlcjpwYXNzd29yZA==' } },
      { code: 'ERR_SUBJECT_TOKEN_MISSING', challenge: 'Bearer' },
    );
  });

  await t.test('treats a token in a header that the route does not read as missing', async () => {
    await provoke(
      { path: '/elsewhere', headers: { authorization } },
      { code: 'ERR_SUBJECT_TOKEN_MISSING', challenge: 'Bearer', route: 'elsewhere' },
    );
  });

  for (const [flaw, value] of [
    ['with a space', `${authorization} more`],
    ['without a token', 'Bearer'],
    ['with an empty token', 'Bearer  '],
    ['with a comma', 'Bearer abc,def'],
    ['in quotes', `Bearer "${token}"`],
    ['followed by another', `${authorization}, ${authorization}`],
  ] as const) {
    await t.test(`refuses a bearer ${flaw}`, async () => {
      await provoke(
        { headers: { authorization: value } },
        { code: 'ERR_SUBJECT_TOKEN_INVALID', challenge: INVALID_TOKEN },
      );
    });
  }

  await t.test('refuses an expired token', async () => {
    const headers = await setup.bearer({ ttlSeconds: -60 });
    const challenge = `${INVALID_TOKEN}, error_description="The access token expired"`;
    await provoke({ headers }, { code: 'ERR_SUBJECT_TOKEN_INVALID', challenge });
  });

  await t.test('refuses a token with a malformed expiry', async () => {
    const [header, , signature] = token.split('.');
    const payload = Buffer.from(JSON.stringify({ sub: 'alice', exp: 'never' })).toString('base64url');
    await provoke(
      { headers: { authorization: `Bearer ${header}.${payload}.${signature}` } },
      { code: 'ERR_SUBJECT_TOKEN_INVALID', challenge: INVALID_TOKEN },
    );
  });

  await t.test('refuses two Authorization headers, even with the same token', async () => {
    await provoke(
      { headers: { authorization: [authorization, authorization] } },
      { code: 'ERR_SUBJECT_TOKEN_INVALID', challenge: INVALID_TOKEN },
    );
  });

  await t.test('refuses a token that is repeated in the URL', async () => {
    await provoke(
      { path: `/tools?access_token=${token}`, headers: { authorization } },
      { code: 'ERR_SUBJECT_TOKEN_INVALID', challenge: INVALID_TOKEN },
    );
  });

  await t.test('forwards the next valid request', async () => {
    const response = await setup.call({ headers: { authorization } });
    assert.equal(response.status, 200);
  });

  await t.test('logs each refusal', async () => {
    for (const checkLog of logChecks) await checkLog();
  });
});

test('refuses a token of the agent, and a handle that cambist does not know', async (t) => {
  const setup = await startFakeSetup({
    change: (config, { authorizationServer, upstream }) => ({
      ...config,
      inbound: {
        listen: '127.0.0.1:0',
        agent: upstream.url,
        verify: { issuer: authorizationServer.issuer, audience: 'agent' },
      },
    }),
  });
  t.after(setup.close);
  for (const headers of [await setup.bearer(), { baggage: `cambist=cbh_${'a'.repeat(43)}` }]) {
    await provokeProblem(setup, { headers }, { code: 'ERR_HANDLE_INVALID', challenge: INVALID_TOKEN });
  }
});

test('refuses a cross-site request to a route that requires no token of the caller', async (t) => {
  const setup = await startFakeSetup({
    change: (config) => ({ ...config, routes: config.routes.map((route) => ({ ...route, credential: 'none' })) }),
  });
  t.after(setup.close);
  for (const headers of [{ origin: 'https://evil.example.org' }, { host: 'evil.example.org' }] as const) {
    await provokeProblem(setup, { headers }, { code: 'ERR_CROSS_SITE_REQUEST' });
  }
  assert.equal((await setup.call()).status, 200);
});
