import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AgentSdk, REPLY } from './agent-client.ts';
import { eventually, soon } from './eventually.ts';
import { WATCHED_URI } from './mcp-fixture/content.ts';
import { type McpSetup, startMcpSetup } from './mcp-setup.ts';

const FIFTY = 50;

/**
 * Waits for the stream that carries the server's own messages. The SDK opens it concurrently with the first calls. If it opens
 * during a call, a question of the server in that call is lost in one of forty runs. This also happens without cambist.
 */
function waitForSessionStream({ backends }: McpSetup): Promise<void> {
  return eventually("the session's stream is open", () =>
    backends.github.requests.some(({ method }) => method === 'GET'),
  );
}

/** Declares tests of ordinary calls through cambist. */
export function declareCallTests(sdk: AgentSdk): void {
  const { name, sessions } = sdk;

  test(`${name}: calls tools with progress, responds to questions during a call, and receives changes of a resource`, async (t) => {
    const setup = await startMcpSetup(t);
    const client = await setup.connect(sdk, 'github');
    assert.ok((await client.listTools()).includes('echo'));
    assert.equal(await client.call('echo', { message: 'grüezi 🙂' }), 'grüezi 🙂');
    const seen: number[] = [];
    await client.call('test_tool_with_progress', {}, { onProgress: (progress) => seen.push(progress) });
    if (sdk.progressMayLag === true) await eventually('all progress notifications arrived', () => seen.length === 3);
    assert.deepEqual(seen, [0, 50, 100]);
    assert.equal(client.sessionId() !== undefined, sessions);

    if (sessions) await waitForSessionStream(setup);
    const [sampling, elicitation] = sessions
      ? ['test_sampling', 'test_elicitation']
      : ['test_input_required_result_sampling', 'test_input_required_result_elicitation'];
    assert.ok((await client.call(sampling, { prompt: 'Which?' })).includes(REPLY));
    assert.ok((await client.call(elicitation, { message: 'Which?' })).includes(REPLY));

    await client.watch(WATCHED_URI);
    assert.deepEqual(client.updated, []);
    await client.call('touch');
    await eventually('the change notification arrived', () => client.updated.length > 0);
    assert.deepEqual(client.updated, [WATCHED_URI]);
  });

  test(`${name}: keeps fifty concurrent callers apart, and sends each of two servers a token of its own audience`, async (t) => {
    const setup = await startMcpSetup(t);
    const { github, docs } = setup.backends;
    const identities = await Promise.all(
      Array.from({ length: FIFTY }, async (_, index) => {
        const token = await setup.subjectToken({ sub: `user-${index}` });
        const client = await sdk.connect(setup.url(index % 2 === 0 ? 'github' : 'docs'), token);
        const { aud, sub } = JSON.parse(await client.call('whoami')) as { aud: string; sub: string };
        await client.close();
        return { aud, sub };
      }),
    );
    assert.deepEqual(
      identities,
      identities.map((_, index) => ({ aud: (index % 2 === 0 ? github : docs).url, sub: `user-${index}` })),
    );
    assert.deepEqual([github.sessionIds(), docs.sessionIds()], [[], []]);
    // One exchange for each session, not for each request.
    assert.equal(await setup.cambist.metric('cambist_exchanges_total', { result: 'success' }), FIFTY);
  });
}

/** Declares tests of interruptions: a cancelled call, a closed stream, a closed session, a lost session. */
export function declareInterruptionTests(sdk: AgentSdk): void {
  const { name, sessions } = sdk;

  test(`${name}: cancels a call at the server when the client aborts it`, async (t) => {
    const setup = await startMcpSetup(t);
    const { github } = setup.backends;
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
    const setup = await startMcpSetup(t);
    const client = await setup.connect(sdk, 'github');
    assert.equal(await client.call('test_reconnection'), 'returned after the stream was closed');
    const resumed = setup.backends.github.requests.filter(({ headers }) => headers['last-event-id'] !== undefined);
    assert.deepEqual(
      resumed.map(({ method, headers }) => [method, headers['mcp-session-id']]),
      [['GET', client.sessionId()]],
    );
  });

  test(`${name}: gets 404 for a session that the server lost, reconnects, and closes its session at the server`, async (t) => {
    const setup = await startMcpSetup(t);
    const { github } = setup.backends;
    const token = await setup.subjectToken();
    const lost = await setup.connect(sdk, 'github', token);
    await lost.listTools();
    github.loseSessions();
    await assert.rejects(lost.listTools(), (error: Error) => /404|not found/i.test(`${error.message}`));
    const found = await setup.connect(sdk, 'github', token);
    assert.notEqual(found.sessionId(), lost.sessionId());
    assert.equal(await found.call('echo', { message: 'again' }), 'again');
    assert.deepEqual(github.sessionIds(), [found.sessionId()]);
    await found.close();
    assert.deepEqual(github.sessionIds(), []);
    // Not the last request: the client opens the session's stream concurrently.
    assert.equal(github.requests.filter(({ method }) => method === 'DELETE').length, 1);
  });
}
