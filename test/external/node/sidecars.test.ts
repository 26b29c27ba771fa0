import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { stringify } from 'yaml';
import { eventually } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { call } from '../../harness/http-call.ts';
import { authority, IMAGE, idp, kubectl, node, REDIRECT_IMAGE, run } from './node.ts';
import { createNamespace, INBOUND, inAgent, inject, nodePod, sidecarConfig, statusOf, waitUntilReady } from './pods.ts';

/** Rare claims of the pages about sidecars. */

/** An agent that calls the route for its caller, and responds with the handle and the status. */
const FORWARDING = `const { createServer, get } = require('node:http');
createServer(({ headers: { authorization } }, response) => {
  get('http://127.0.0.1:8180/github', { headers: { authorization } }, ({ statusCode }) => response.end(authorization + ' ' + statusCode));
}).listen(process.env.PORT);`;

describe('sidecars', { concurrency: true }, () => {
  test('an agent behind inbound of a classic sidecar that listens for IPv6 gets a handle, and its calls are exchanged', async (t) => {
    await createNamespace(t, 'classic-inbound');
    const container = { command: ['node', '-e', FORWARDING], ports: [{ name: 'http', containerPort: 8080 }] };
    const flags = '--sidecar classic --inbound 8080';
    const config = sidecarConfig({ admin: '[::]:9180', inbound: { ...INBOUND, listen: '[::]:8080' } });
    await inject('classic-inbound', nodePod('agent', { container }), config, flags);
    await waitUntilReady('classic-inbound', 'agent');
    const { podIP } = await statusOf('classic-inbound', 'agent', 'agent');
    const { text } = await call(`http://${podIP}:8080`, { headers: { authorization: `Bearer ${await idp.mint()}` } });
    assert.match(text, /^Bearer cbh_\S+ 200$/);
    const curl = 'curl -s -o /dev/null -w %{http_code}, http://[::1]:8080 -o /dev/null http://[::1]:9180/livez';
    assert.equal(await inAgent('classic-inbound', 'agent', curl), '401,200,');
  });

  test('a sidecar whose startup probe fails too long restarts, and its pod starts once the server is there', async (t) => {
    await createNamespace(t, 'startup');
    const address = '10.99.0.5';
    const origin = `https://${address}`;
    await node.write('startup.yaml', stringify(nodePod('agent', { namespace: 'startup' })));
    await node.write('startup-config.yaml', sidecarConfig().replace(new URL(idp.issuer).origin, origin));
    // Ten minutes become ten seconds.
    await run(`cambist inject --image ${IMAGE} --config startup-config.yaml --secret cambist startup.yaml |
      sed 's/failureThreshold: 600/failureThreshold: 10/' | kubectl apply -f -`);
    const isRestarted = async () => (await statusOf('startup', 'agent', 'cambist')).restartCount === 1;
    await eventually('the sidecar has restarted', isRestarted, 120_000, 200);
    assert.match(await run('kubectl -n startup get pod agent'), /Init:0\/1/);
    const tls = authority.issueServer({ hosts: [address] });
    await startFakeAuthorizationServer(t, { tls, port: 443, at: { address, origin }, issuerPath: '/realms/agents' });
    await waitUntilReady('startup', 'agent');
  });

  test('an agent starts without the authorization server if the startup probe calls /livez', async (t) => {
    await createNamespace(t, 'eager');
    await node.write('eager.yaml', stringify(nodePod('agent', { namespace: 'eager' })));
    await node.write('eager-config.yaml', sidecarConfig().replace(new URL(idp.issuer).origin, 'https://10.99.0.5:444'));
    await run(`cambist inject --image ${IMAGE} --config eager-config.yaml --secret cambist eager.yaml |
      sed '/startupProbe/,/periodSeconds/s/readyz/livez/' | kubectl apply -f -`);
    const curl = `curl -si -H 'Authorization: Bearer ${await idp.mint()}' http://127.0.0.1:8180/github`;
    const send = () => kubectl(['-n', 'eager', 'exec', 'agent', '-c', 'agent', '--', 'bash', '-c', curl]);
    const isUnavailable = async () => /^HTTP\/1.1 503 [\s\S]*^retry-after: \d/im.test((await send()).stdout);
    await eventually('the agent gets 503', isUnavailable, 60_000, 500);
    const isPartlyReady = async () => /1\/2/.test(await run('kubectl -n eager get pod agent'));
    await eventually('the agent alone is ready', isPartlyReady, 60_000, 500);
  });

  test('a pod does not start with an invalid config, or if the kernel refuses to redirect, and the log says why', async (t) => {
    await createNamespace(t, 'refused', { standard: 'baseline' });
    await node.write('refused-config.yaml', sidecarConfig({ routs: [] }));
    const match = { host: 'github-mcp.example.com' };
    const listen = ['127.0.0.1:15443', '127.0.0.1:15080'];
    await node.write(
      'refused-packets.yaml',
      sidecarConfig({ intercept: { ca: { dir: '/run/cambist/ca' }, listen } }, match),
    );
    for (const name of ['invalid', 'redirected'])
      await node.write(`refused-${name}.yaml`, stringify(nodePod(name, { namespace: 'refused' })));
    const inject = `cambist inject --image ${IMAGE} --secret cambist`;
    const flags = `--config refused-packets.yaml --config-map packets --intercept packets --redirect-image ${REDIRECT_IMAGE}`;
    await run(`kubectl -n refused create configmap cambist --from-file=cambist.yaml=refused-config.yaml
      ${inject} refused-invalid.yaml | kubectl apply -f -
      ${inject} ${flags} refused-redirected.yaml | sed '/- NET_ADMIN/d; s/ add:$/ add: []/' | kubectl apply -f -`);
    const logs = (pod: string, container: string) => kubectl(['-n', 'refused', 'logs', pod, '-c', container]);
    for (const [pod, container, reason] of [
      ['invalid', 'cambist', /cambist\.yaml:\d+:\d+: unknown key "routs"/],
      ['redirected', 'cambist-redirect', /Operation not permitted/],
    ] as const) {
      const isRefused = async () =>
        /Init:(Error|CrashLoopBackOff)/.test(await run(`kubectl -n refused get pod ${pod}`)) &&
        reason.test((await logs(pod, container)).stdout);
      await eventually(`${pod} says why`, isRefused, 60_000, 500);
      const { restartCount = 0, ready } = await statusOf('refused', pod, 'agent');
      assert.deepEqual([restartCount, ready], [0, false]);
    }
  });
});
