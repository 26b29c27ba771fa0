import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { provokeProblem } from '../harness/expected-problem.ts';
import { type FakeSetupOptions, startFakeSetup } from '../harness/fake-setup.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { neverRespond, refuseBearer } from '../harness/upstream-handlers.ts';

const TOKEN = { tokenRequests: 1 } as const;

/** Replaces the upstream of the only route. */
function toUpstream(upstream: string): NonNullable<FakeSetupOptions['change']> {
  return (config) => ({ ...config, routes: config.routes.map((route) => ({ ...route, upstream })) });
}

test('returns ERR_UPSTREAM_UNREACHABLE when the upstream refuses connections', async (t) => {
  const gone = await startFakeUpstream(neverRespond);
  await gone.close();
  const setup = await startFakeSetup({ change: toUpstream(gone.url) });
  t.after(setup.close);
  await provokeProblem(setup, { headers: await setup.bearer() }, { code: 'ERR_UPSTREAM_UNREACHABLE', ...TOKEN });
});

test('returns ERR_UPSTREAM_UNREACHABLE without a retry when the upstream closes the connection', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  setup.upstream.handler = (_request, response) => void response.destroy();
  for (const method of ['POST', 'GET']) {
    const headers = await setup.bearer();
    const expected = { code: 'ERR_UPSTREAM_UNREACHABLE', upstreamRequests: 1, ...TOKEN } as const;
    await provokeProblem(setup, { method, headers }, expected);
  }
});

test('sends no token to an upstream whose certificate is untrusted', async (t) => {
  const upstream = await startFakeUpstream(neverRespond, { tls: createCertificateAuthority().issueServer() });
  t.after(upstream.close);
  const setup = await startFakeSetup({ change: toUpstream(upstream.url) });
  t.after(setup.close);
  await provokeProblem(setup, { headers: await setup.bearer() }, { code: 'ERR_UPSTREAM_TLS', ...TOKEN });
  assert.deepEqual(upstream.requests, []);
});

test('returns its own error instead of the 401 of an upstream that refuses two fresh tokens', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  setup.upstream.handler = refuseBearer(() => true);
  await provokeProblem(
    setup,
    { headers: await setup.bearer(), body: '{}' },
    { code: 'ERR_UPSTREAM_REFUSED_TOKEN', tokenRequests: 2, upstreamRequests: 2 },
  );
  assert.equal(await setup.cambist.metric('cambist_upstream_retries_total', { route: 'tools' }), 1);
});

test('returns ERR_CROSS_ROUTE_REFERENCE when the upstream redirects to cambist itself', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  setup.upstream.handler = (_request, response) => {
    response.writeHead(307, { location: `${setup.cambist.url}/canary` }).end();
  };
  const expected = { code: 'ERR_CROSS_ROUTE_REFERENCE', upstreamRequests: 1, ...TOKEN } as const;
  await provokeProblem(setup, { headers: await setup.bearer() }, expected);
});

test('returns ERR_UPSTREAM_TIMEOUT when the upstream sends no headers in time', async (t) => {
  const setup = await startFakeSetup({
    change: (config) => ({
      ...config,
      routes: config.routes.map((route) => ({ ...route, timeouts: { response_headers: '200ms' } })),
    }),
  });
  t.after(setup.close);
  setup.upstream.handler = neverRespond;
  const expected = { code: 'ERR_UPSTREAM_TIMEOUT', upstreamRequests: 1, ...TOKEN } as const;
  await provokeProblem(setup, { headers: await setup.bearer() }, expected);
});
