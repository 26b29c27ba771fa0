import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deferred } from '../harness/deferred.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { type FakeSetup, type FakeSetupParts, startFakeSetup } from '../harness/fake-setup.ts';
import { freePort } from '../harness/free-port.ts';
import { type InjectedContainer, injectPod, preStop, probe, startedUp } from '../harness/injected-pod.ts';
import { eventStream, respond } from '../harness/upstream-handlers.ts';

/** Injects a pod with these flags. `start` runs cambist at the ports of the pod. */
async function startPod(
  t: TestContext,
  flags: readonly string[],
  prepare?: (parts: Omit<FakeSetupParts, 'directory'>) => void,
) {
  const [port, adminPort] = [await freePort(), await freePort()];
  const spec = await injectPod([...flags, '--port', String(port), '--admin-port', String(adminPort)]);
  const addresses = { listen: `127.0.0.1:${port}`, admin: `127.0.0.1:${adminPort}` };
  const start = async (): Promise<FakeSetup> => {
    const setup = await startFakeSetup({
      ready: false,
      ...(prepare === undefined ? {} : { prepare }),
      change: (config) => ({ ...config, ...addresses }),
    });
    t.after(setup.close);
    return setup;
  };
  return { spec, start };
}

const DOWN = ({ authorizationServer }: Omit<FakeSetupParts, 'directory'>) => authorizationServer.close();

test('the agent beside a native sidecar starts once cambist is ready, and can call it until the agent exits', async (t) => {
  const { spec, start } = await startPod(t, [], DOWN);
  const [sidecar] = spec.initContainers as [InjectedContainer];
  assert.deepEqual([sidecar.name, sidecar.restartPolicy], ['cambist', 'Always']);
  assert.deepEqual(
    spec.containers.map(({ name }) => name),
    ['agent'],
  );
  const setup = await start();
  let agentMayStart = false;
  const started = startedUp(sidecar).then(() => {
    agentMayStart = true;
  });
  await setup.cambist.waitForLog(({ msg }) => msg === 'not ready');
  assert.equal(await probe(sidecar, sidecar.livenessProbe), true, 'the kubelet does not restart it meanwhile');
  assert.equal(await probe(sidecar, sidecar.readinessProbe), false);
  assert.equal(agentMayStart, false);
  const back = await startFakeAuthorizationServer({ port: setup.authorizationServer.port });
  t.after(back.close);
  await soon('the agent may start', started, 15_000);
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200, "the agent's first call");
  // The kubelet sends no signal to a native sidecar before the agent has exited.
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200, "the agent's last call");
  assert.equal(sidecar.lifecycle, undefined);
  setup.cambist.signal('SIGTERM');
  assert.deepEqual(await soon('cambist exits', setup.cambist.exit), { code: 0, signal: null });
});

test('a classic sidecar serves the agent while both shut down, and exits within the grace period', async (t) => {
  const { spec, start } = await startPod(t, ['--sidecar', 'classic', '--termination-grace-period', '35s']);
  const [agent, sidecar] = spec.containers as [InjectedContainer, InjectedContainer];
  assert.deepEqual([agent.name, sidecar.name, spec.initContainers], ['agent', 'cambist', undefined]);
  assert.equal(sidecar.lifecycle?.preStop.exec.command[0], 'node', 'the image has no other program');
  const setup = await start();
  await startedUp(sidecar);
  let hookIsDone = false;
  const hook = preStop(sidecar).then((code) => {
    hookIsDone = true;
    return code;
  });
  await delay(500);
  assert.equal(
    (await setup.call({ headers: await setup.bearer() })).status,
    200,
    'a call of the agent while it shuts down',
  );
  assert.equal(await probe(sidecar, sidecar.readinessProbe), true);
  assert.equal(hookIsDone, false);
  assert.equal(await hook, 0);
  setup.cambist.signal('SIGTERM');
  assert.deepEqual(await soon('cambist exits', setup.cambist.exit), { code: 0, signal: null });
});

test('on SIGTERM with a stream and a request in flight, is not ready and lets both finish', async (t) => {
  const { spec, start } = await startPod(t, []);
  const [sidecar] = spec.initContainers as [InjectedContainer];
  const setup = await start();
  await startedUp(sidecar);
  const headers = await setup.bearer();
  const stream = eventStream();
  setup.upstream.handler = stream.handler;
  const events = await setup.open({ method: 'GET', headers });
  let heard = '';
  events.on('data', (chunk) => {
    heard += chunk;
  });
  const { promise: held, resolve: release } = deferred<void>();
  setup.upstream.handler = async (request, response) => {
    await held;
    await respond(200, 'late but whole')(request, response);
  };
  const pending = setup.call({ headers });
  await eventually('both requests reach the upstream', () => setup.upstream.requests.length === 2);

  setup.cambist.signal('SIGTERM');
  await setup.cambist.waitForLog(({ msg }) => msg === 'cambist is shutting down');
  assert.equal(await probe(sidecar, sidecar.readinessProbe), false);
  assert.equal(await probe(sidecar, sidecar.livenessProbe), true);
  stream.emit('still here');
  await eventually('the stream continues', () => heard.includes('data: still here'));
  await setup.cambist.waitForLog(({ msg }) => String(msg).startsWith('draining requests in flight'));
  assert.equal((await setup.call({ headers })).status, 503);
  release();
  assert.equal((await pending).text, 'late but whole');
  assert.equal(await probe(sidecar, sidecar.livenessProbe), true, 'it stays alive for the stream');
  stream.end();
  assert.deepEqual(await soon('cambist exits', setup.cambist.exit), { code: 0, signal: null });
});
