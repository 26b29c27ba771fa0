import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AgentSdk } from '../../harness/agent-client.ts';
import { startRefusingSetup } from '../../harness/refusing-setup.ts';

/** Declares tests of a client that has no driver for progress, sampling and subscriptions. */
export function declareBasicTests(sdk: AgentSdk): void {
  test(`${sdk.name}: lists and calls tools with an exchanged token`, async (t) => {
    const { url, server, fixture } = await startRefusingSetup(t);
    const token = await server.mint();
    const client = await sdk.connect(url, token);
    t.after(() => client.close());
    assert.ok((await client.listTools()).includes('echo'));
    assert.equal(await client.call('echo', { message: 'grüezi 🙂' }), 'grüezi 🙂');
    const received = fixture.requests.map(({ headers }) => headers.authorization);
    assert.ok(received.every((value) => value?.startsWith('Bearer ') === true && !value.includes(token)));
  });
}
