import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AgentSdk } from './agent-client.ts';
import { eventually, soon } from './eventually.ts';
import { startFixtureSetup } from './fixture-setup.ts';

/** Declares tests of interruptions: a cancelled call, a closed stream, a closed session, a lost session. */
export function declareInterruptionTests(sdk: AgentSdk): void {
  const { name, sessions } = sdk;

  test(`${name}: cancels a call at the server when the client aborts it`, async (t) => {
    const setup = await startFixtureSetup(t);
    const { github } = setup.fixtures;
    const client = await setup.connect(sdk, 'github');
    const abort = new AbortController();
    let hasStarted = false;
    const onProgress = () => {
      hasStarted = true;
    };
    const call = client.call('wait', {}, { signal: abort.signal, onProgress });
    // The tool never returns by itself. So this also shows that cambist forwards events before the response is complete.
    await eventually('the first event of the stream arrived', () => hasStarted);
    assert.equal(github.cancellations(), 0);
    const { gone } = github.requests.at(-1) ?? assert.fail('the call reached no server');
    abort.abort();
    await assert.rejects(call);
    await eventually('the tool is cancelled', () => github.cancellations() === 1);
    // Since 2026-07-28, closing the stream cancels the call.
    if (!sessions) await soon('the stream is closed at the server', gone);
    assert.ok((await client.listTools()).length > 0);
  });

  if (!sessions) return;

  test(`${name}: resumes a closed stream by its last event id`, async (t) => {
    const setup = await startFixtureSetup(t);
    const client = await setup.connect(sdk, 'github');
    assert.equal(await client.call('test_reconnection'), 'returned after the stream was closed');
    const resumed = setup.fixtures.github.requests.filter(({ headers }) => headers['last-event-id'] !== undefined);
    assert.deepEqual(
      resumed.map(({ method, headers }) => [method, headers['mcp-session-id']]),
      [['GET', client.sessionId()]],
    );
  });

  test(`${name}: closes its session at the server`, async (t) => {
    const setup = await startFixtureSetup(t);
    const { github } = setup.fixtures;
    const client = await setup.connect(sdk, 'github');
    assert.deepEqual(github.sessionIds(), [client.sessionId()]);
    await client.close();
    assert.deepEqual(github.sessionIds(), []);
    // Not the last request: the client opens the session's stream concurrently.
    assert.equal(github.requests.filter(({ method }) => method === 'DELETE').length, 1);
  });

  test(`${name}: gets 404 for a session that the server lost, and reconnects`, async (t) => {
    const setup = await startFixtureSetup(t);
    const token = await setup.subjectToken();
    const lost = await setup.connect(sdk, 'github', token);
    await lost.listTools();
    setup.fixtures.github.loseSessions();
    await assert.rejects(lost.listTools(), (error: Error) => /404|not found/i.test(`${error.message}`));
    const found = await setup.connect(sdk, 'github', token);
    assert.notEqual(found.sessionId(), lost.sessionId());
    assert.equal(await found.call('echo', { message: 'again' }), 'again');
  });
}
