import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually } from '../harness/eventually.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { startSpiffeAgent, svidParts, x509SvidResponse } from '../harness/spiffe-agent.ts';

const ID = 'spiffe://example.org/cambist';
const ROUTES = [{ name: 'none', match: { path: '/' }, upstream: 'http://127.0.0.1:9', credential: 'none' }];

test('is ready with an SVID, shows its expiry, and says when the agent is gone', async (t) => {
  const agent = await startSpiffeAgent(t);
  const app = await startTestApp(t, { spiffe: { socket: agent.address }, routes: ROUTES });
  const ready = async () => {
    const response = await fetch(`${app.admin}/readyz`);
    return { status: response.status, body: (await response.json()) as { checks: Record<string, string> } };
  };
  await eventually('the failed check', async () => (await ready()).body.checks.spiffe !== 'waiting');
  assert.deepEqual(await ready(), {
    status: 503,
    body: { ready: false, checks: { spiffe: 'ERR_CREDENTIAL_UNAVAILABLE' } },
  });
  assert.equal(sumSamples(await app.metrics(), 'cambist_spiffe_up'), 0);
  assert.match(app.logText(), /has no identity for this process: register an entry/);

  const authority = createCertificateAuthority('example.org');
  const certificate = authority.issueClient({ hosts: [ID] });
  agent.send(x509SvidResponse([svidParts(ID, certificate, authority.cert)]));
  await eventually('ready', async () => (await ready()).status === 200);
  const metrics = await app.metrics();
  assert.equal(sumSamples(metrics, 'cambist_spiffe_up'), 1);
  const expiry = sumSamples(metrics, 'cambist_spiffe_certificate_expiry_timestamp_seconds') ?? 0;
  assert.ok(Math.abs(expiry - Date.now() / 1000 - 3600) < 120, String(expiry));

  agent.stop();
  await eventually('the metric', async () => sumSamples(await app.metrics(), 'cambist_spiffe_up') === 0);
  assert.equal((await ready()).status, 200);
  assert.match(app.logText(), /lost the SPIFFE agent; keeping the SVID until it expires/);
  assert.doesNotMatch(app.logText(), /PRIVATE KEY/);

  assert.deepEqual(app.reloadTo({ spiffe: { socket: 'unix:///other.sock' }, routes: ROUTES }), ['spiffe']);
});
