import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { getIn, type JsonObject, objectsOf } from '../../../src/kubernetes/json.ts';
import { parseOptions } from '../../../src/kubernetes/options.ts';
import { sidecarContainer, sidecarVolumes } from '../../../src/kubernetes/sidecar.ts';
import { startAuthorizationServer } from '../../harness/authorization-server.ts';
import { startCambist } from '../../harness/cambist-process.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import { runCommand } from '../../harness/run-command.ts';
import { post, whoami } from '../servers/agent.ts';
import { configOf, podSpec, renderChart, renderKustomization } from './render.ts';
import { VALUES } from './values.ts';

test("the gateway's container equals the sidecar's, except for what a Service needs", async () => {
  const options = parseOptions({
    image: 'registry.example.com/cambist:0.1.0',
    'config-map': 'cambist-gateway',
    secret: 'cambist',
    'token-audience': 'https://idp.example.com',
  });
  const { gateway, ...more } = VALUES.gateway;
  const values = { ...more, gateway: { ...gateway, tokenAudience: options.tokenAudience } };
  const spec = podSpec(await renderChart(values));
  const [{ lifecycle, resources, ports, ...container } = {} as JsonObject] = objectsOf(spec.containers);
  const { resources: _, ports: sidecarPorts, restartPolicy, ...sidecar } = sidecarContainer(options, 60);
  assert.equal(restartPolicy, 'Always');
  assert.deepEqual(container, sidecar);
  assert.deepEqual(ports, [{ name: 'http', containerPort: 8180 }, ...objectsOf(sidecarPorts)]);
  assert.deepEqual(spec.volumes, sidecarVolumes(options));
  const sleepSeconds = Number(getIn(lifecycle, ['preStop', 'sleep', 'seconds']));
  assert.ok(sleepSeconds + 25 < Number(spec.terminationGracePeriodSeconds));
  assert.ok(getIn(resources, ['limits', 'memory']));
});

test('cambist accepts the config of every rendering', async (t) => {
  const folder = temporaryFolder(t);
  for (const rendered of [
    await renderChart(VALUES.gateway),
    await renderChart(VALUES.everything),
    await renderKustomization('gateway/base'),
    await renderKustomization('gateway/example'),
    await renderKustomization('gateway/agents'),
    await renderChart(VALUES['gateway with agents']),
    await renderKustomization('gateway/shared-cache'),
    await renderChart(VALUES['gateway with a shared cache']),
  ]) {
    const file = join(folder, 'cambist.yaml');
    await writeFile(file, configOf(rendered));
    const { code, stdout, stderr } = await runCommand(['validate', '--config', file]);
    assert.equal(code, 0, stdout + stderr);
  }
});

/** An authorization server, a backend, and their gateway as the chart renders it, on local ports. */
async function startRendered(t: TestContext) {
  const secret = randomBytes(24).toString('base64url');
  const clients = { cambist: { method: 'client_secret_basic', secret } } as const;
  const server = await startAuthorizationServer({ clients });
  t.after(server.close);
  const backend = await startMcpBackend(t, { name: 'github', issuer: server.issuer, jwksUri: server.jwksUri });
  server.resources.set(backend.resource, { scopes: ['repo:read'] });
  const file = { file: '/var/run/secrets/cambist/client-secret' };
  const client_auth = { method: 'client_secret_basic', client_secret: file };
  const config = {
    authorization_servers: { local: { issuer: server.issuer, client_id: 'cambist', client_auth } },
    routes: [{ name: 'github', match: { host: '127.0.0.1', path: '/github' }, upstream: backend.url }],
  };
  const { gateway, ...more } = VALUES.gateway;
  const rendered = await renderChart({ ...more, gateway: { ...gateway, config } });
  const cambist = await startCambist(t, {
    // Replaces the mounted folders by local ones, and the pod's ports by free ones.
    config: (directory) =>
      configOf(rendered)
        .replaceAll('/var/run/secrets/cambist', directory)
        .replaceAll(/0\.0\.0\.0:(?:8180|9180)/g, '127.0.0.1:0'),
    files: { 'client-secret': secret },
  });
  await cambist.ready();
  return { server, backend, cambist, secret };
}

test('a gateway with the rendered config gives an MCP client a token for the backend only', async (t) => {
  const { server, backend, cambist, secret } = await startRendered(t);
  const token = await server.issueSubjectToken({ sub: 'alice', audience: ['my-agent', 'cambist'] });
  const { aud, sub } = await whoami(`${cambist.url}/github`, token);
  assert.deepEqual([aud, sub], [backend.resource, 'alice']);
  // Another name for the same address, as in DNS rebinding.
  const rebound = await post(cambist.url.replace('127.0.0.1', 'localhost').concat('/github'), token);
  assert.equal(rebound.status, 403);
  const leaks = createLeakWatch();
  leaks.remember(token);
  leaks.remember(secret);
  leaks.assertNoLeak({ stdout: cambist.stdout(), stderr: cambist.stderr() });
});
