import assert from 'node:assert/strict';
import { test } from 'node:test';
import { provokeProblem } from '../harness/expected-problem.ts';
import { startScene } from '../harness/scene.ts';

const INVALID_TOKEN = 'Bearer error="invalid_token"';

test('what is wrong with a request itself is answered without asking anybody', async (t) => {
  const scene = await startScene({
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
  t.after(scene.close);
  const token = await scene.subjectToken();
  const authorization = `Bearer ${token}`;

  for (const path of ['/', '/toolsmith', '/tools/../tools', '/tools/%2e%2e/x', '/TOOLS']) {
    await t.test(`a path that no route has is no route: ${path}`, async () => {
      await provokeProblem(
        scene,
        { path, headers: { authorization } },
        { code: 'ERR_ROUTE_NOT_FOUND', route: undefined },
      );
    });
  }

  for (const method of ['PROPFIND', 'MKCOL', 'LINK', 'PURGE']) {
    await t.test(`a method that no MCP client uses has no route: ${method}`, async () => {
      const headers = { authorization };
      await provokeProblem(scene, { method, headers }, { code: 'ERR_ROUTE_NOT_FOUND', route: undefined });
    });
  }

  await t.test('TRACE has no route: its answer would hand the issued token to the caller', async () => {
    const headers = { authorization };
    await provokeProblem(scene, { method: 'TRACE', headers }, { code: 'ERR_ROUTE_NOT_FOUND', route: undefined });
  });

  await t.test('a request without a token is told to bring a bearer', async () => {
    await provokeProblem(scene, {}, { code: 'ERR_SUBJECT_TOKEN_MISSING', challenge: 'Bearer' });
  });

  await t.test('credentials of another scheme are no subject token', async () => {
    await provokeProblem(
      scene,
      { headers: { authorization: 'Basic dXNlcjpwYXNzd29yZA==' } },
      { code: 'ERR_SUBJECT_TOKEN_MISSING', challenge: 'Bearer' },
    );
  });

  await t.test('a token in another header than the one of the route is missing', async () => {
    await provokeProblem(
      scene,
      { path: '/elsewhere', headers: { authorization } },
      { code: 'ERR_SUBJECT_TOKEN_MISSING', challenge: 'Bearer', route: 'elsewhere' },
    );
  });

  for (const [what, value] of [
    ['has a blank in it', `${authorization} more`],
    ['is none', 'Bearer'],
    ['is empty', 'Bearer  '],
    ['has a comma in it', 'Bearer abc,def'],
    ['is quoted', `Bearer "${token}"`],
    ['is two in one line', `${authorization}, ${authorization}`],
  ] as const) {
    await t.test(`a bearer that ${what} is malformed`, async () => {
      await provokeProblem(
        scene,
        { headers: { authorization: value } },
        { code: 'ERR_SUBJECT_TOKEN_INVALID', challenge: INVALID_TOKEN },
      );
    });
  }

  await t.test('a token that has expired is not exchanged', async () => {
    const headers = await scene.bearer({ ttlSeconds: -60 });
    await provokeProblem(scene, { headers }, { code: 'ERR_SUBJECT_TOKEN_INVALID', challenge: INVALID_TOKEN });
  });

  await t.test('a token whose expiry is no time is malformed', async () => {
    const [header, , signature] = token.split('.');
    const payload = Buffer.from(JSON.stringify({ sub: 'alice', exp: 'never' })).toString('base64url');
    await provokeProblem(
      scene,
      { headers: { authorization: `Bearer ${header}.${payload}.${signature}` } },
      { code: 'ERR_SUBJECT_TOKEN_INVALID', challenge: INVALID_TOKEN },
    );
  });

  await t.test('two Authorization headers are one too many, even of the same token', async () => {
    await provokeProblem(
      scene,
      { headers: { authorization: [authorization, authorization] } },
      { code: 'ERR_SUBJECT_TOKEN_INVALID', challenge: INVALID_TOKEN },
    );
  });

  await t.test('a token that stands in the URL as well is not forwarded in it', async () => {
    await provokeProblem(
      scene,
      { path: `/tools?access_token=${token}`, headers: { authorization } },
      { code: 'ERR_SUBJECT_TOKEN_INVALID', challenge: INVALID_TOKEN },
    );
  });

  await t.test('none of it kept the next, good request from passing', async () => {
    const answer = await scene.call({ headers: { authorization } });
    assert.equal(answer.status, 200);
  });
});

test('refuses a cross-site request to a route that needs no token of the caller', async (t) => {
  const scene = await startScene({
    change: (config) => ({ ...config, routes: config.routes.map((route) => ({ ...route, credential: 'none' })) }),
  });
  t.after(scene.close);
  for (const headers of [{ origin: 'https://evil.example.org' }, { host: 'evil.example.org' }] as const) {
    await provokeProblem(scene, { headers }, { code: 'ERR_CROSS_SITE_REQUEST' });
  }
  assert.equal((await scene.call()).status, 200);
});
