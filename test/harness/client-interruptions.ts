import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Speaker } from './agent-client.ts';
import { eventually, soon } from './eventually.ts';
import { startFixtureWorld } from './fixture-world.ts';

/** What happens to every client at some time: a call given up, a stream lost, a session ended or lost. */
export function declareInterruptionTests(speaker: Speaker): void {
  const { name, sessions } = speaker;

  test(`${name}: a call that the client gives up is cancelled at the server`, async (t) => {
    const world = await startFixtureWorld(t);
    const { github } = world.fixtures;
    const client = await world.connect(speaker, 'github');
    const abort = new AbortController();
    let begun = false;
    const onProgress = () => {
      begun = true;
    };
    const call = client.call('wait', {}, { signal: abort.signal, onProgress });
    // The tool never ends by itself, so that this also shows that nothing waits for an answer's end to pass it on.
    await eventually('the first event of an answer that goes on', () => begun);
    assert.equal(github.cancellations(), 0);
    const { gone } = github.requests.at(-1) ?? assert.fail('the call reached no server');
    abort.abort();
    await assert.rejects(call);
    await eventually('the tool is told', () => github.cancellations() === 1);
    // Since 2026-07-28 to close the stream is to cancel.
    if (!sessions) await soon('the stream is closed at the server', gone);
    assert.ok((await client.listTools()).length > 0);
  });

  if (!sessions) return;

  test(`${name}: an answer whose stream was closed is fetched by its last event id`, async (t) => {
    const world = await startFixtureWorld(t);
    const client = await world.connect(speaker, 'github');
    assert.equal(await client.call('test_reconnection'), 'answered after the stream was closed');
    const resumed = world.fixtures.github.requests.filter(({ headers }) => headers['last-event-id'] !== undefined);
    assert.deepEqual(
      resumed.map(({ method, headers }) => [method, headers['mcp-session-id']]),
      [['GET', client.sessionId()]],
    );
  });

  test(`${name}: a session that ends is ended at the server`, async (t) => {
    const world = await startFixtureWorld(t);
    const { github } = world.fixtures;
    const client = await world.connect(speaker, 'github');
    assert.deepEqual(github.sessionIds(), [client.sessionId()]);
    await client.close();
    assert.deepEqual(github.sessionIds(), []);
    // The client opens the session's stream beside all else, and that may come last.
    assert.equal(github.requests.filter(({ method }) => method === 'DELETE').length, 1);
  });

  test(`${name}: a session that the server lost is 404 to the client, which starts over`, async (t) => {
    const world = await startFixtureWorld(t);
    const token = await world.subjectToken();
    const lost = await world.connect(speaker, 'github', token);
    await lost.listTools();
    world.fixtures.github.loseSessions();
    await assert.rejects(lost.listTools(), (error: Error) => /404|not found/i.test(`${error.message}`));
    const found = await world.connect(speaker, 'github', token);
    assert.notEqual(found.sessionId(), lost.sessionId());
    assert.equal(await found.call('echo', { message: 'again' }), 'again');
  });
}
