import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { type NodeMcpRequestHandler, toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { createRemoteJWKSet, decodeJwt, type JWTPayload, type JWTVerifyOptions, jwtVerify } from 'jose';
import { type FakeAuthorizationServer, sendResponse } from '../harness/fake-authorization-server.ts';
import { respond, startFakeUpstream } from '../harness/fake-upstream.ts';
import { startHttpServer } from '../harness/http-server.ts';
import { createLeakWatch } from '../harness/leaks.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';
import { startMcpBackend } from '../harness/mcp-fixture/server.ts';
import { assertFinds, publicServer, route, runDoctor, startServer, withMain } from './doctor-run.ts';

async function runCall(t: TestContext, server: FakeAuthorizationServer, upstream: string, keys: object = {}) {
  const token = await server.mint();
  const written = {
    authorization_servers: { main: publicServer(server.issuer, { ...keys }) },
    routes: [route('github', { upstream })],
  };
  const result = await runDoctor(t, written, { token, call: true });
  const leaks = createLeakWatch();
  for (const secret of [token, server.requests.at(-1)?.issued ?? '']) leaks.remember(secret);
  leaks.assertNoLeak({ findings: JSON.stringify(result.findings) });
  return result;
}

type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void;

/** A backend that verifies tokens with jose, and repeats jose's error message as many real servers do. */
async function startVerifyingBackend(
  t: TestContext,
  { jwksUri }: { jwksUri: string },
  options: JWTVerifyOptions,
  serve: Handler,
): Promise<string> {
  const keys = createRemoteJWKSet(new URL(jwksUri));
  const server = await startHttpServer((request, response) => {
    const [, token = ''] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
    jwtVerify(token, keys, options).then(
      () => serve(request, response),
      (error: Error) => {
        const description = `${error.message.replaceAll('"', "'")}`;
        const challenge = `Bearer error="invalid_token", error_description="${description}"`;
        sendResponse(response, 401, { error: 'invalid_token' }, { 'www-authenticate': challenge });
      },
    );
  });
  t.after(server.close);
  return `${server.url}/mcp`;
}

const accepted: Handler = (_request, response) => sendResponse(response, 200, { jsonrpc: '2.0', id: 1, result: {} });

test('the backend accepts the issued token: a server for MCP 2025-11-25 and 2026-07-28', async (t) => {
  const server = await startServer(t);
  const { issuer, jwksUri } = server;
  const backend = await startMcpBackend(t, { name: 'github', issuer, jwksUri, resource: 'backend' });
  const { problems, finding } = await runCall(t, server, backend.url);
  assert.deepEqual(problems, []);
  assert.match(finding('call_accepted').what, /initialize returns 200; server\/discover returns 200/);
  assert.deepEqual(backend.sessionIds(), [], 'the session is ended');
});

test('the backend accepts the issued token: a server for MCP 2026-07-28 only', async (t) => {
  const server = await startServer(t);
  const handler = createMcpHandler(() => new McpServer({ name: 'modern', version: '1' }), { legacy: 'reject' });
  t.after(() => handler.close());
  const handle = toNodeHandler(handler);
  const serve: Handler = async (request, response) => {
    // The SDK's and Node's types disagree on optional properties under exactOptionalPropertyTypes.
    type Handled = Parameters<NodeMcpRequestHandler>;
    await handle(request as Handled[0], response as Handled[1], await json(request));
  };
  const upstream = await startVerifyingBackend(t, server, { issuer: server.issuer, audience: 'backend' }, serve);
  const { problems, finding } = await runCall(t, server, upstream);
  assert.deepEqual(problems, []);
  assert.match(finding('call_accepted').what, /initialize returns 400; server\/discover returns 200/);
});

const REFUSALS: [what: string, options: JWTVerifyOptions, code: string, says: RegExp][] = [
  ['audience', { audience: 'docs' }, 'backend_refuses_audience', /unexpected 'aud' claim value/],
  ['issuer', { issuer: 'https://other.example.com' }, 'backend_refuses_issuer', /unexpected 'iss' claim value/],
  ['algorithm', { algorithms: ['RS256'] }, 'backend_refuses_algorithm', /'alg' \(Algorithm\)/],
  ['key, which is of another server', {}, 'backend_refuses_key', /signature verification failed/],
  ['token, for another reason', { subject: 'bob' }, 'backend_refuses_token', /unexpected 'sub' claim value/],
];
for (const [what, options, code, says] of REFUSALS) {
  test(`reports ${code} if the backend refuses the ${what}`, async (t) => {
    const server = await startServer(t);
    const other = await startServer(t);
    await other.rotateKey();
    const { jwksUri } = code === 'backend_refuses_key' ? other : server;
    const upstream = await startVerifyingBackend(t, { jwksUri }, options, accepted);
    const result = await runCall(t, server, upstream);
    for (const pattern of [
      /initialize returns 401, WWW-Authenticate: Bearer error="invalid_token"/,
      says,
      /iss "http.*aud "backend", scope \(none\), alg "ES256", kid "fake"/,
    ]) {
      assertFinds(result, [`error ${code}`], pattern);
    }
  });
}

test('keeps the name and e-mail address of the user out of its output', async (t) => {
  const claims = { name: 'Alice Example', email: 'alice@example.com', preferred_username: 'alice-ex' };
  const server = await startServer(t, { kind: 'issue', claims });
  const said = 'Alice Example (alice-ex, alice@example.com) may not use this';
  const challenge = { 'www-authenticate': `Bearer error_description="${said}"` };
  const upstream = await startFakeUpstream(t, respond(403, JSON.stringify({ error: said }), challenge));
  const { findings } = await runCall(t, server, upstream.url);
  const text = JSON.stringify(findings);
  assert.match(text, /may not use this/);
  for (const value of Object.values(claims)) assert.ok(!text.includes(value), value);
});

test('reports backend_refuses_scope for a 403 that asks for scopes', async (t) => {
  const server = await startServer(t);
  const challenge = { 'www-authenticate': 'Bearer error="insufficient_scope", scope="tools:write"' };
  const backend = await startFakeUpstream(t, respond(403, '', challenge));
  assertFinds(await runCall(t, server, backend.url), ['error backend_refuses_scope'], /scope="tools:write"/);
});

test('redacts the issued token in the words of the backend', async (t) => {
  const server = await startServer(t);
  const backend = await startFakeUpstream(t, (request, response) => {
    const [sent = ''] = request.authorization;
    const challenge = `Bearer error_description="bad audience in ${sent.replace('Bearer ', '')}"`;
    sendResponse(response, 401, `you sent ${sent}`, { 'www-authenticate': challenge });
  });
  const says = /bad audience in \[redacted\]".*body: you sent \[redacted\]/;
  assertFinds(await runCall(t, server, backend.url), ['error backend_refuses_audience'], says);
});

test('reports call_failed for a backend that is broken or closes the connection', async (t) => {
  const server = await startServer(t);
  const backend = await startFakeUpstream(t, (request, response) => {
    if (request.authorization.length > 0) response.destroy();
    else sendResponse(response, 200, '');
  });
  assertFinds(await runCall(t, server, backend.url), ['error call_failed'], /backend's log/);
  const unreachable = await runCall(t, server, 'http://127.0.0.1:1/mcp');
  assert.match(unreachable.finding('call_failed').fix ?? '', /host and port of routes\.github\.upstream/);
  backend.handler = (request, response) => sendResponse(response, request.authorization.length > 0 ? 500 : 200, '');
  const says = /initialize returns 500; server\/discover returns 500/;
  assertFinds(await runCall(t, server, backend.url), ['error call_failed'], says);
});

test('reports call_failed for a backend that returns a web page, whatever its status', async (t) => {
  const server = await startServer(t);
  const page = respond(200, '<!doctype html><title>Welcome</title>', { 'content-type': 'text/html; charset=utf-8' });
  const backend = await startFakeUpstream(t, page);
  const { problems, finding } = await runCall(t, server, backend.url);
  assert.deepEqual(problems, ['warning backend_not_mcp', 'error call_failed']);
  const says = /initialize returns 200, a web page; server\/discover returns 200, a web page$/;
  assert.match(finding('call_failed').what, says);
});

test('sends a proof with a bound token, and repeats the call with the nonce that the backend requires', async (t) => {
  const server = await startServer(t, { kind: 'issue', fields: { token_type: 'DPoP' } });
  const proofs: JWTPayload[] = [];
  const backend = await startHttpServer((request, response) => {
    const proof = request.headers.dpop;
    if (typeof proof !== 'string') return sendResponse(response, 200, '');
    const claims = decodeJwt(proof);
    proofs.push(claims);
    if (claims.nonce === 'n-1') return accepted(request, response);
    const challenge = { 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': 'n-1' };
    return sendResponse(response, 401, '', challenge);
  });
  t.after(backend.close);
  const { problems } = await runCall(t, server, `${backend.url}/mcp`, { dpop: true });
  assert.deepEqual(problems, []);
  assert.deepEqual(
    proofs.map(({ htm, htu, nonce }) => [htm, htu, nonce]),
    [undefined, 'n-1', 'n-1'].map((nonce) => ['POST', `${backend.url}/mcp`, nonce]),
  );
});

test('calls no backend without --call, or without an issued token', async (t) => {
  const server = await startServer(t);
  const backend = await startFakeUpstream(t, respond(401));
  const written = withMain(server, route('github', { upstream: backend.url }));
  await runDoctor(t, written, { token: await server.mint() });
  await runDoctor(t, written, { call: true });
  assert.ok(backend.requests.length > 0);
  assert.ok(backend.requests.every(({ authorization }) => authorization.length === 0));
});

test('calls the backend with the secret of a route, in the header of send', async (t) => {
  const write = writerInto(temporaryFolder(t));
  const secret = write('key', 'key-4f2a9c1e7b8d');
  const upstream = await startFakeUpstream(t, (request, response) =>
    request.headers['x-api-key'] === 'key-4f2a9c1e7b8d'
      ? respond(200, { jsonrpc: '2.0', id: 1, result: {} })(request, response)
      : respond(401, 'no', {})(request, response),
  );
  const keys = { upstream: upstream.url, credential: 'secret', secret, send: { header: 'X-API-Key' } };
  const check = async () => runDoctor(t, { routes: [route('weather', keys)] }, { call: true });

  const good = await check();
  assert.deepEqual(good.problems, []);
  assert.match(good.finding('secret_read').what, /sent in the header "X-API-Key"/);
  assert.match(good.finding('call_accepted').what, /accepts the secret/);

  write('key', 'key-that-is-wrong');
  const refused = await check();
  assert.deepEqual(refused.problems, ['error backend_refuses_secret']);
  assert.ok(!JSON.stringify(refused.findings).includes('key-that-is-wrong'));

  rmSync(secret.file);
  assert.deepEqual((await check()).problems, ['error credential_unavailable']);
});
