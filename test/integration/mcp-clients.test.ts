import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { UrlElicitationRequiredError } from '@modelcontextprotocol/sdk/types.js';
import { describeError, type ErrorCode } from '../../src/error-catalogue.ts';
import { type AgentClient, SDKS } from '../harness/agent-client.ts';
import { startTestApp } from '../harness/app.ts';
import { consentAt, startConsentSetup } from '../harness/consent-site.ts';
import { eventually } from '../harness/eventually.ts';
import { startGateway } from '../harness/gateway.ts';
import { assertProblem, call, connectRaw } from '../harness/http-call.ts';
import {
  BACKEND_SCOPE,
  createSignInProvider,
  type RefusingSetup,
  SCOPE,
  startRefusingSetup,
} from '../harness/refusing-setup.ts';

async function start(t: TestContext) {
  const setup = await startConsentSetup(t);
  const app = await startTestApp(t, setup.config);
  const token = await setup.server.mint();
  const options = { requestInit: { headers: { authorization: `Bearer ${token}` } } };
  return { ...setup, app, url: new URL(`${app.url}/mcp`), options };
}

const textOf = (content: unknown) => (content as { text?: string }[]).map(({ text = '' }) => text).join('');

/** A client of MCP 2026-07-28 whose user opens each URL. */
async function connectModern(
  t: TestContext,
  { url, options }: Pick<Awaited<ReturnType<typeof start>>, 'url' | 'options'>,
  visit: (consentUrl: string) => Promise<'accept' | 'decline'>,
) {
  const capabilities = { elicitation: { form: {}, url: {} } };
  const client = new ClientV2({ name: 'agent', version: '1' }, { capabilities, versionNegotiation: { mode: 'auto' } });
  t.after(() => client.close());
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    assert.ok(params.mode === 'url');
    return { action: await visit(params.url) };
  });
  await client.connect(new TransportV2(url, options));
  return client;
}

test('MCP client 2.4, 2026-07-28: the user opens the URL and consents, and the call goes on', async (t) => {
  const setup = await start(t);
  let opened = 0;
  const client = await connectModern(t, setup, async (url) => {
    opened += 1;
    assert.match(await consentAt(url, 'alice', setup.site.ca), /Connected/);
    return 'accept';
  });
  const { tools } = await client.listTools();
  assert.ok(tools.some(({ name }) => name === 'echo'));
  for (const message of ['hi', 'again']) {
    assert.equal(textOf((await client.callTool({ name: 'echo', arguments: { message } })).content), message);
    assert.equal(opened, 1);
  }
  assert.ok(!setup.app.logText().includes('ticket='));
});

test('MCP client 2.4: the consent of another person does not count', async (t) => {
  const setup = await start(t);
  let rounds = 0;
  const client = await connectModern(t, setup, async (url) => {
    rounds += 1;
    if (rounds > 2) return 'decline';
    assert.match(await consentAt(url, 'mallory', setup.site.ca), /Not you/);
    return 'accept';
  });
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
  await eventually('the consent counts', async () => (await call().catch(() => '')) === 'hi');
});

/** The error that the user of a client sees when a call fails. */
function shown(client: AgentClient, tool: string): Promise<string> {
  return client.call(tool, { message: 'hi' }).catch(String);
}

for (const sdk of SDKS) {
  const { name } = sdk;
  /** Connects, signs the user in when the SDK asks for it, and connects again. */
  const start = async (t: TestContext): Promise<RefusingSetup & { client: AgentClient }> => {
    const setup = await startRefusingSetup(t);
    const provider = createSignInProvider();
    await assert.rejects(sdk.connect(setup.url, provider), /Unauthorized/i);
    await sdk.finishSignIn(setup.url, provider);
    const client = await sdk.connect(setup.url, provider);
    t.after(() => client.close());
    return { ...setup, client };
  };

  test(`${name}: signs the user in for the scopes that cambist names`, async (t) => {
    const { client, server, url } = await start(t);
    assert.deepEqual(server.signIns, [{ clientId: 'agent', scope: SCOPE, resource: url }]);
    assert.equal(await client.call('echo', { message: 'hi' }), 'hi');
  });

  test(`${name}: shows code and detail of a 403 and a 502`, async (t) => {
    const { client } = await start(t);
    for (const [tool, code] of [
      ['forbidden', 'ERR_EXCHANGE_REFUSED'],
      ['unreachable', 'ERR_UPSTREAM_UNREACHABLE'],
    ] as const) {
      assert.ok((await shown(client, tool)).includes(`"message":"${code}: ${describeError(code).detail}"`), tool);
    }
  });

  test(`${name}: signs the user in again after a 401, and shows that alone`, async (t) => {
    const { client, server } = await start(t);
    assert.match(await shown(client, 'signed_out'), /Unauthorized$/);
    assert.deepEqual(
      server.signIns.map(({ scope }) => scope),
      [SCOPE, SCOPE],
    );
  });

  test(`${name}: signs the user in for a scope of the backend only if the user's server knows it`, async (t) => {
    const { client, server, app, config } = await start(t);
    assert.match(await shown(client, 'scoped'), /the backend wants more scopes/);
    assert.equal(server.signIns.length, 1);
    app.reloadTo({ ...config, defaults: {} });
    await shown(client, 'scoped');
    const scopes = server.signIns.at(-1)?.scope?.split(' ') ?? [];
    assert.deepEqual([server.signIns.length, scopes.includes(BACKEND_SCOPE)], [2, true]);
  });
}

const MCP = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
const CALL = JSON.stringify({ jsonrpc: '2.0', id: 'call-7', method: 'tools/call', params: { name: 'list' } });

test('responds to an MCP POST with a JSON-RPC error that has the id of the request', async (t) => {
  const { app, authorization, authorizationServer, upstream } = await startGateway(t);
  const refused = async (code: ErrorCode, headers: Record<string, string> = {}, path = '/github') => {
    const response = await call(app.url + path, { headers: { ...MCP, ...headers }, body: CALL });
    assertProblem(response, code);
    assert.equal(JSON.parse(response.text).id, 'call-7');
    return response;
  };
  const missing = await refused('ERR_SUBJECT_TOKEN_MISSING');
  assert.equal(missing.headers['www-authenticate'], 'Bearer realm="cambist"');
  const { jsonrpc, error } = JSON.parse(missing.text);
  assert.deepEqual([jsonrpc, error.code, error.data.status], ['2.0', -32010, 401]);
  assert.match(error.message, /^ERR_SUBJECT_TOKEN_MISSING: This route/);

  await refused('ERR_SUBJECT_TOKEN_MISSING', { 'transfer-encoding': 'chunked' });
  await refused('ERR_ROUTE_NOT_FOUND', {}, '/elsewhere');
  authorizationServer.queue.push({ kind: 'response', status: 400, body: { error: 'invalid_target' } });
  await refused('ERR_EXCHANGE_REFUSED', { authorization });
  await upstream.close();
  await refused('ERR_UPSTREAM_UNREACHABLE', { authorization: `Bearer ${await authorizationServer.mint()}` });
});

test('finds the id in a message that decides the route', async (t) => {
  const { app, authorization } = await startGateway(t, {
    route: { match: { path: '/github', mcp_method: 'tools/call' } },
  });
  const post = (body: string) =>
    call(`${app.url}/github`, { headers: { authorization, 'content-type': 'application/json' }, body });
  const noRoute = await post('{"jsonrpc":"2.0","id":3,"method":"ping"}');
  assertProblem(noRoute, 'ERR_ROUTE_NOT_FOUND');
  const ambiguous = await post('{"jsonrpc":"2.0","id":4,"method":"ping","METHOD":"tools/call"}');
  assertProblem(ambiguous, 'ERR_ROUTE_NOT_FOUND');
  assert.deepEqual([JSON.parse(noRoute.text).id, JSON.parse(ambiguous.text).id], [3, 4]);
});

test('omits the id for a notification, and has a null id for a batch and a body that is late', async (t) => {
  const { app } = await startGateway(t);
  const post = async (body: string) => {
    const response = await call(`${app.url}/github`, { method: 'POST', headers: MCP, body });
    assertProblem(response, 'ERR_SUBJECT_TOKEN_MISSING');
    return JSON.parse(response.text);
  };
  assert.ok(!('id' in (await post('{"jsonrpc":"2.0","method":"notifications/initialized"}'))));
  assert.equal((await post(`[${CALL}]`)).id, null);

  const connection = await connectRaw(app.url);
  t.after(() => connection.socket.destroy());
  const headers = Object.entries({ host: 'a', ...MCP, 'content-length': '100' });
  connection.send(`POST /elsewhere HTTP/1.1\r\n${headers.map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r\n{"id":5`);
  const text = await connection.until('"request_id"');
  assert.match(text, /^HTTP\/1\.1 403 /);
  assert.match(text, /\{"jsonrpc":"2\.0","id":null,"error":/);
});
