import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { respond } from '../harness/upstream-handlers.ts';
import { publicServer, route, runDoctor } from './doctor-run.ts';

/** Runs the doctor on a config whose agent is here. */
async function withAgent(t: TestContext, agent: string, more: Record<string, unknown> = {}) {
  const { issuer, close } = await startFakeAuthorizationServer();
  t.after(close);
  const result = await runDoctor(t, {
    authorization_servers: { local: publicServer(issuer) },
    routes: [route('open', { audience: undefined, credential: 'none' })],
    inbound: { listen: '127.0.0.1:0', agent, verify: { issuer, audience: 'agent' }, ...more },
  });
  const { problems } = result;
  return { ...result, problems: problems.filter((problem) => problem.includes('agent')) };
}

async function portOf(t: TestContext, greeting?: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    if (greeting !== undefined) socket.end(greeting);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => server.close());
  return (server.address() as { port: number }).port;
}

test('reaches an agent that responds, on an open path, and checks the keys of its callers', async (t) => {
  const agent = await startFakeUpstream(respond(404));
  t.after(agent.close);
  const result = await withAgent(t, agent.url, { open: ['/public/*', '/healthz'] });
  assert.deepEqual(result.problems, []);
  assert.deepEqual(result.finding('agent_reached').about, { kind: 'agent', name: '' });
  assert.ok(result.finding('keys_found'));
  assert.deepEqual(
    agent.requests.map(({ method, url, authorization }) => [method, url, authorization]),
    [['GET', '/healthz', []]],
  );
});

test('finds an agent that does not listen, on a port or a socket', async (t) => {
  const agent = await startFakeUpstream(respond(200));
  await agent.close();
  for (const where of [agent.url, 'unix:/nowhere/agent.sock']) {
    const result = await withAgent(t, where);
    assert.deepEqual(result.problems, ['error agent_unreachable']);
    assert.match(result.finding('agent_unreachable').why ?? '', /nothing listens there/);
    assert.match(result.finding('agent_unreachable').fix ?? '', /PORT/);
  }
});

test('finds an agent that fails, does not respond, or does not speak HTTP', async (t) => {
  const failing = await startFakeUpstream(respond(503));
  t.after(failing.close);
  assert.deepEqual((await withAgent(t, failing.url)).problems, ['warning agent_error']);
  const silent = await portOf(t);
  assert.deepEqual((await withAgent(t, `http://127.0.0.1:${silent}`)).problems, ['warning agent_silent']);
  const database = await portOf(t, 'E: not for you\r\n');
  assert.deepEqual((await withAgent(t, `http://127.0.0.1:${database}`)).problems, ['error agent_not_http']);
});
