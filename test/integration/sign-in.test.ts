import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { describeError } from '../../src/error-catalogue.ts';
import { BACKEND_SCOPE, type RefusingSetup, SCOPE, startRefusingSetup } from '../harness/refusing-setup.ts';
import { SignInProvider } from '../harness/sign-in-provider.ts';

/** A client of one SDK that signs its user in. */
interface SignedIn {
  call(tool: string): Promise<string>;
  close(): Promise<void>;
}

/** Connects, signs the user in when the SDK asks for it, and connects again. */
async function signIn(
  provider: SignInProvider,
  connect: () => Promise<SignedIn>,
  finish: (code: string) => Promise<void>,
): Promise<SignedIn> {
  await assert.rejects(connect, /Unauthorized/i);
  await finish(provider.redirected.get('code') ?? '');
  return connect();
}

function connectV2(url: string, mode: 'auto' | 'legacy'): Promise<SignedIn> {
  const provider = new SignInProvider();
  const transport = () => new TransportV2(new URL(url), { authProvider: provider });
  const connect = async () => {
    const client = new ClientV2({ name: 'agent', version: '1.0.0' }, { versionNegotiation: { mode } });
    await client.connect(transport());
    const call = async (name: string) => JSON.stringify(await client.callTool({ name, arguments: { message: 'hi' } }));
    return { call, close: () => client.close() };
  };
  return signIn(provider, connect, () => transport().finishAuth(provider.redirected));
}

function connectV1(url: string): Promise<SignedIn> {
  const provider = new SignInProvider();
  const transport = () => new TransportV1(new URL(url), { authProvider: provider });
  const connect = async () => {
    const client = new ClientV1({ name: 'agent', version: '1.0.0' });
    await client.connect(transport() as Transport);
    const call = async (name: string) => JSON.stringify(await client.callTool({ name, arguments: { message: 'hi' } }));
    return { call, close: () => client.close() };
  };
  return signIn(provider, connect, (code) => transport().finishAuth(code));
}

/** The error that the user of a client sees when a call fails. */
async function shown(client: SignedIn, tool: string): Promise<string> {
  return client.call(tool).then(
    (result) => `no error: ${result}`,
    (error: unknown) => String(error),
  );
}

for (const [name, connect] of [
  ['TypeScript SDK v1', connectV1],
  ['TypeScript SDK v2, legacy', (url: string) => connectV2(url, 'legacy')],
  ['TypeScript SDK v2, negotiated', (url: string) => connectV2(url, 'auto')],
] as const) {
  const start = async (t: TestContext): Promise<RefusingSetup & { client: SignedIn }> => {
    const setup = await startRefusingSetup(t);
    const client = await connect(setup.url);
    t.after(() => client.close());
    return { ...setup, client };
  };

  test(`${name}: signs the user in for the scopes that cambist names`, async (t) => {
    const { client, server, url } = await start(t);
    assert.deepEqual(server.signIns, [{ clientId: 'agent', scope: SCOPE, resource: url }]);
    assert.match(await client.call('echo'), /hi/);
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

  test(`${name}: shows the backend's 403 for a scope that the user's server does not know`, async (t) => {
    const { client, server } = await start(t);
    assert.match(await shown(client, 'scoped'), /the backend wants more scopes/);
    assert.equal(server.signIns.length, 1);
  });

  test(`${name}: signs the user in for a scope of the backend that the server of both knows`, async (t) => {
    const { client, server, app, config } = await start(t);
    app.reloadTo({ ...config, defaults: {} });
    await shown(client, 'scoped');
    const scopes = server.signIns.at(-1)?.scope?.split(' ') ?? [];
    assert.deepEqual([server.signIns.length, scopes.includes(BACKEND_SCOPE)], [2, true]);
  });
}
