import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually } from '../harness/eventually.ts';
import { SETUP_ROUTE, SETUP_SERVER, startFakeSetup } from '../harness/fake-setup.ts';
import { echo, eventStream, neverRespond, refuseBearer } from '../harness/fake-upstream.ts';
import { sumSamples } from '../harness/metric-samples.ts';

function seriesOf(text: string): string[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => line.slice(0, line.lastIndexOf(' ')));
}

test('exposes the metrics before the first request, in text format 0.0.4', async (t) => {
  const setup = await startFakeSetup(t);
  const response = await fetch(`${setup.cambist.adminUrl}/metrics`);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  assert.doesNotMatch(text, /# EOF|_created/, 'the format is not OpenMetrics');
  assert.match(text, /^cambist_requests_total\{route="tools",method="POST",code="200",outcome="forwarded"\} 0$/m);
  assert.match(text, /^cambist_build_info\{version="\d+\.\d+\.\d+"\} 1$/m);
  assert.equal(sumSamples(text, 'cambist_config_last_reload_successful'), 1);
  const ageSeconds = Date.now() / 1000 - sumSamples(text, 'cambist_config_last_reload_success_timestamp_seconds');
  assert.ok(ageSeconds >= 0 && ageSeconds < 60);
  assert.ok(sumSamples(text, 'process_resident_memory_bytes') > 0);
  for (const line of text.split('\n')) {
    assert.match(line, /^(# (HELP|TYPE) [a-z0-9_]+ .+|[a-z0-9_]+(\{.*\})? [-+.\w]+|)$/);
  }
});

test('lets no caller choose a label value or create series', async (t) => {
  const setup = await startFakeSetup(t);
  const { cambist } = setup;
  const authorization = `Bearer ${await setup.subjectToken()}`;
  // CONNECT opens a tunnel, which other tests cover.
  const methods = METHODS.filter((method) => method !== 'CONNECT');
  const round = async (mark: string) => {
    for (const method of methods) {
      const headers = {
        authorization,
        'mcp-session-id': `session-${mark}`,
        'x-request-id': `id-${mark}`,
        host: `h-${mark}`,
      };
      await setup.call({ method, path: `/tools/path-${mark}?query-${mark}`, headers });
      await setup.call({ method, path: `/elsewhere-${mark}`, headers });
    }
    // Metrics of Node.js change with its handles.
    return seriesOf(await cambist.metrics())
      .filter((key) => key.startsWith('cambist_'))
      .sort();
  };
  const first = await round('canary-one');
  const second = await round('canary-two');
  assert.deepEqual(second, first);
  const text = second.join('\n');
  for (const hostile of ['canary', 'PROPFIND', 'MKCALENDAR', 'alice', 'id-', 'h-']) {
    assert.ok(!text.includes(hostile), hostile);
  }
  assert.ok(text.includes('method="other"'));
  setup.leaks.assertNoLeak({ metrics: await cambist.metrics() });
});

const ROUTE = { route: SETUP_ROUTE };
const EXCHANGE = { ...ROUTE, authorization_server: SETUP_SERVER };

const ACTOR_END_SECONDS = Math.floor(Date.now() / 1000) + 3600;
const ACTOR_TOKEN = [{ alg: 'ES256' }, { sub: 'cambist', exp: ACTOR_END_SECONDS }, 'signature']
  .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
  .join('.');

test('updates every metric', async (t) => {
  const authority = createCertificateAuthority();
  const { cert, key } = authority.issueClient();
  const setup = await startFakeSetup(t, {
    change: (config, { upstream }) => ({
      ...config,
      cache: { max_entries: 2 },
      routes: [
        ...config.routes.map((route) => ({ ...route, actor_token: { file: 'actor' } })),
        {
          name: 'open',
          match: { path: '/open' },
          upstream: upstream.url,
          credential: 'none',
          tls: { certificate: { file: 'cert.pem' }, private_key: { file: 'key.pem' } },
        },
      ],
    }),
    files: { 'cert.pem': cert, 'key.pem': key, actor: ACTOR_TOKEN },
  });
  const { cambist, authorizationServer, upstream } = setup;
  const is = async (value: number, name: string, labels: Record<string, string> = ROUTE) =>
    assert.equal(await cambist.metric(name, labels), value, `${name} ${JSON.stringify(labels)}`);
  const headers = await setup.bearer();

  await setup.call({ headers });
  await setup.call({ headers });
  await is(2, 'cambist_requests_total', { ...ROUTE, method: 'POST', code: '200', outcome: 'forwarded' });
  await is(2, 'cambist_arrivals_total', { ...ROUTE, way_in: 'base_url' });
  await is(2, 'cambist_request_duration_seconds_count');
  await is(1, 'cambist_exchanges_total', { ...EXCHANGE, result: 'success' });
  await is(1, 'cambist_exchange_duration_seconds_count', { authorization_server: SETUP_SERVER });
  await is(1, 'cambist_cache_requests_total', { ...ROUTE, result: 'miss' });
  await is(1, 'cambist_cache_requests_total', { ...ROUTE, result: 'hit' });
  await is(1, 'cambist_cache_entries', {});
  await is(0, 'cambist_requests_in_flight');

  await setup.call({ path: '/open' });
  await is(1, 'cambist_cache_requests_total', { route: 'open', result: 'bypass' });

  authorizationServer.queue.push({ kind: 'issue', delayMs: 100 });
  const joined = await setup.bearer();
  await Promise.all([setup.call({ headers: joined }), setup.call({ headers: joined })]);
  await is(1, 'cambist_cache_requests_total', { ...ROUTE, result: 'joined' });

  authorizationServer.queue.push({ kind: 'response', status: 400, body: { error: 'invalid_target' } });
  const refused = await setup.bearer();
  await setup.call({ headers: refused });
  await setup.call({ headers: refused });
  await is(1, 'cambist_cache_requests_total', { ...ROUTE, result: 'negative' });
  await is(1, 'cambist_exchanges_total', { ...EXCHANGE, result: 'failure', error: 'ERR_EXCHANGE_REFUSED' });

  await setup.call({ headers: { ...headers, 'mcp-session-id': 's-1' } });
  await is(1, 'cambist_cache_evictions_total', { reason: 'capacity' });
  await setup.call({ method: 'DELETE', headers: { ...headers, 'mcp-session-id': 's-1' } });
  await is(1, 'cambist_cache_evictions_total', { reason: 'session_ended' });

  let answers = 0;
  upstream.handler = refuseBearer(() => {
    answers += 1;
    return answers === 1;
  });
  await setup.call({ headers: joined });
  await is(1, 'cambist_upstream_retries_total', { reason: 'token' });
  await is(1, 'cambist_cache_evictions_total', { reason: 'refused' });

  upstream.handler = echo;
  authorizationServer.queue.push({ kind: 'issue', ttlSeconds: 4 });
  const brief = { headers: await setup.bearer() };
  await setup.call(brief);
  // Calls before the expiry would refresh the token ahead.
  await delay(4100);
  await setup.call(brief);
  await is(1, 'cambist_cache_evictions_total', { reason: 'expired' });

  const stream = eventStream();
  upstream.handler = stream.handler;
  const open = await setup.open({ method: 'GET', headers });
  await is(1, 'cambist_open_streams');
  await is(1, 'cambist_requests_in_flight');
  stream.end();
  open.resume();
  await eventually('the stream is closed', async () => (await cambist.metric('cambist_open_streams', ROUTE)) === 0);
  await is(0, 'cambist_requests_in_flight');

  upstream.handler = (_request, response) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write('half of it', () => setTimeout(() => response.socket?.resetAndDestroy(), 50));
  };
  await assert.rejects(setup.call({ headers }), { code: 'ECONNRESET' });
  await eventually('a response that broke off is counted', async () => {
    return (await cambist.metric('cambist_requests_aborted_total', { ...ROUTE, aborted_by: 'upstream' })) === 1;
  });

  upstream.handler = neverRespond;
  const leaving = new AbortController();
  const left = upstream.requests.length;
  const aborted = assert.rejects(setup.call({ headers, signal: leaving.signal }));
  await eventually('the upstream has the request', () => upstream.requests.length > left);
  leaving.abort();
  await aborted;
  await eventually('a caller that disconnected is counted', async () => {
    return (await cambist.metric('cambist_requests_total', { ...ROUTE, code: '499', outcome: 'cancelled' })) === 1;
  });

  await setup.call({ path: '/nowhere' });
  await is(1, 'cambist_requests_total', { route: '_unmatched', code: '403', outcome: 'refused' });
  await is(ACTOR_END_SECONDS, 'cambist_credential_expiry_timestamp_seconds', {
    credential: `actor token of route "${SETUP_ROUTE}"`,
  });
  const certificate = { credential: 'route "open"' };
  const certificateEnd = await cambist.metric('cambist_credential_expiry_timestamp_seconds', certificate);
  assert.equal(certificateEnd, Date.parse(new X509Certificate(cert).validTo) / 1000);

  await cambist.rewriteConfig('version: 2');
  await eventually('an invalid config is counted', async () => {
    return (await cambist.metric('cambist_config_reloads_total', { result: 'failure' })) === 1;
  });
  await is(0, 'cambist_config_last_reload_successful', {});
});
