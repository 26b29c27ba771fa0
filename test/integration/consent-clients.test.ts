import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { UrlElicitationRequiredError } from '@modelcontextprotocol/sdk/types.js';
import { startTestApp } from '../harness/app.ts';
import { startConsentSetup } from '../harness/consent-setup.ts';
import { consentAt } from '../harness/consent-visitor.ts';
import { eventually } from '../harness/eventually.ts';

async function start(t: TestContext) {
  const setup = await startConsentSetup();
  t.after(setup.close);
  const app = await startTestApp(t, setup.config);
  const token = await setup.server.mint();
  const options = { requestInit: { headers: { authorization: `Bearer ${token}` } } };
  return { ...setup, app, url: new URL(`${app.url}/mcp`), options };
}

const textOf = (content: unknown) => (content as { text?: string }[]).map(({ text = '' }) => text).join('');

test('MCP client 2.4, 2026-07-28: the user opens the URL and consents, and the call goes on', async (t) => {
  const { site, url, options, app } = await start(t);
  const client = new Client(
    { name: 'agent', version: '1' },
    { capabilities: { elicitation: { form: {}, url: {} } }, versionNegotiation: { mode: 'auto' } },
  );
  t.after(() => client.close());
  const opened: string[] = [];
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    assert.ok(params.mode === 'url');
    opened.push(params.url);
    assert.match(await consentAt(params.url, 'alice', site.ca), /Connected/);
    return { action: 'accept' };
  });
  await client.connect(new StreamableHTTPClientTransport(url, options));
  assert.ok(
    (await client.listTools()).tools.some(({ name }) => name === 'echo'),
    'listing needs no consent',
  );
  const result = await client.callTool({ name: 'echo', arguments: { message: 'hi' } });
  assert.equal(textOf(result.content), 'hi');
  assert.equal(opened.length, 1);
  assert.equal(textOf((await client.callTool({ name: 'echo', arguments: { message: 'again' } })).content), 'again');
  assert.equal(opened.length, 1);
  assert.ok(!app.logText().includes('ticket='));
});

test('MCP client 2.4: the consent of another person does not count', async (t) => {
  const { site, url, options } = await start(t);
  const client = new Client(
    { name: 'agent', version: '1' },
    { capabilities: { elicitation: { form: {}, url: {} } }, versionNegotiation: { mode: 'auto' } },
  );
  t.after(() => client.close());
  let rounds = 0;
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    assert.ok(params.mode === 'url');
    rounds += 1;
    if (rounds > 2) return { action: 'decline' };
    assert.match(await consentAt(params.url, 'mallory', site.ca), /Not you/);
    return { action: 'accept' };
  });
  await client.connect(new StreamableHTTPClientTransport(url, options));
  await assert.rejects(client.callTool({ name: 'echo', arguments: { message: 'hi' } }), /ERR_CONSENT_REQUIRED/);
  assert.equal(rounds, 3);
});

test('TypeScript SDK 1.32, 2025-11-25: the call fails with the URL, the user consents, and the next call succeeds', async (t) => {
  const { site, url, options } = await start(t);
  const client = new ClientV1({ name: 'agent', version: '1' }, { capabilities: { elicitation: { url: {} } } });
  t.after(() => client.close());
  await client.connect(new TransportV1(url, options) as Transport);
  assert.ok((await client.listTools()).tools.length > 0);
  const call = async () => textOf((await client.callTool({ name: 'echo', arguments: { message: 'hi' } })).content);
  const error = await call().catch((caught: unknown) => caught);
  assert.ok(error instanceof UrlElicitationRequiredError);
  const [elicitation] = error.elicitations;
  assert.match(elicitation?.message ?? '', /consent/);
  assert.ok(error.message.endsWith(`: open ${elicitation?.url}`), error.message);
  assert.match(await consentAt(elicitation?.url ?? '', 'alice', site.ca), /Connected/);
  await eventually('the consent counts', () =>
    call().then(
      (text) => text === 'hi',
      () => false,
    ),
  );
});
