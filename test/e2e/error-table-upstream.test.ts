import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { CANARY, provokeProblem } from '../harness/expected-problem.ts';
import { type FakeSetupOptions, startFakeSetup } from '../harness/fake-setup.ts';
import { startFakeUpstream, startRawUpstream } from '../harness/fake-upstream.ts';
import { failMidStream, neverRespond, refuseBearer, respond } from '../harness/upstream-handlers.ts';

const TOKEN = { tokenRequests: 1 } as const;

/** Replaces the upstream of the only route, and overrides other keys of it. */
function toUpstream(upstream: string, keys: Record<string, unknown> = {}): NonNullable<FakeSetupOptions['change']> {
  return (config) => ({ ...config, routes: config.routes.map((route) => ({ ...route, upstream, ...keys })) });
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

for (const [flaw, bytes] of Object.entries({
  'that is not HTTP': '220 canary ESMTP\r\n',
  'with contradictory framing': 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'with endless headers': `HTTP/1.1 200 OK\r\nx-canary: ${'x'.repeat(200_000)}`,
})) {
  test(`returns ERR_UPSTREAM_UNREACHABLE for a response ${flaw}`, async (t) => {
    const raw = await startRawUpstream(bytes, 'end');
    t.after(raw.close);
    const setup = await startFakeSetup({ change: toUpstream(raw.url) });
    t.after(setup.close);
    await provokeProblem(setup, { headers: await setup.bearer() }, { code: 'ERR_UPSTREAM_UNREACHABLE', ...TOKEN });
  });
}

test('never completes a response that breaks off', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  setup.upstream.handler = failMidStream(1000, 10);
  await assert.rejects(setup.call({ headers: await setup.bearer() }), { code: 'ECONNRESET' });
});

const authority = createCertificateAuthority();
const UNTRUSTED = {
  'is untrusted': {},
  'is for another host': { tls: authority.issueServer({ hosts: ['other.example.com'] }), ca: true },
  'is expired': { tls: authority.issueServer({ validFromSeconds: -7200, validUntilSeconds: -3600 }), ca: true },
};
for (const [flaw, { tls = authority.issueServer(), ca = false }] of Object.entries<{
  tls?: { cert: string; key: string };
  ca?: boolean;
}>(UNTRUSTED)) {
  test(`sends no token to an upstream whose certificate ${flaw}`, async (t) => {
    const upstream = await startFakeUpstream(neverRespond, { tls });
    t.after(upstream.close);
    const keys = ca ? { tls: { ca: { file: 'ca.pem' } } } : {};
    const setup = await startFakeSetup({ files: { 'ca.pem': authority.cert }, change: toUpstream(upstream.url, keys) });
    t.after(setup.close);
    await provokeProblem(setup, { headers: await setup.bearer() }, { code: 'ERR_UPSTREAM_TLS', ...TOKEN });
    assert.deepEqual(upstream.requests, []);
  });
}

test('sends no token to an https upstream without TLS', async (t) => {
  const raw = await startRawUpstream('HTTP/1.1 200 OK\r\n\r\n', 'end');
  t.after(raw.close);
  const setup = await startFakeSetup({ change: toUpstream(raw.url.replace('http:', 'https:')) });
  t.after(setup.close);
  await provokeProblem(setup, { headers: await setup.bearer() }, { code: 'ERR_UPSTREAM_TLS', ...TOKEN });
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

test('does not retry a refused request that is too large', async (t) => {
  const setup = await startFakeSetup({
    change: (config) => ({ ...config, routes: config.routes.map((route) => ({ ...route, retry_body_limit: '1KiB' })) }),
  });
  t.after(setup.close);
  setup.upstream.handler = refuseBearer(() => true);
  await provokeProblem(
    setup,
    { headers: await setup.bearer(), body: 'x'.repeat(2000) },
    { code: 'ERR_UPSTREAM_REFUSED_TOKEN', upstreamRequests: 1, ...TOKEN },
  );
  assert.equal(await setup.cambist.metric('cambist_upstream_retries_total'), 0);
});

test('relays a 401 on routes without an issued token', async (t) => {
  const setup = await startFakeSetup({
    change: (config, { upstream }) => ({
      ...config,
      routes: ['none', 'passthrough'].map((credential) => ({
        name: credential,
        match: { path: `/${credential}` },
        upstream: upstream.url,
        credential,
      })),
    }),
  });
  t.after(setup.close);
  setup.upstream.handler = respond(401, CANARY, { 'www-authenticate': 'Bearer realm="theirs"' });
  for (const path of ['/none', '/passthrough']) {
    const { status, headers, text } = await setup.call({ path, headers: await setup.bearer() });
    assert.deepEqual([status, headers['www-authenticate'], text], [401, 'Bearer realm="theirs"', CANARY]);
  }
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
