import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readRecords, recordsOf } from '../harness/audit-records.ts';
import { eventually } from '../harness/eventually.ts';
import { type GatewayOptions, startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { recordSecret } from '../harness/leaks.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const PARAMS = { name: 'search', arguments: { q: 'salary' } };
const TOOL_CALL = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: PARAMS };

/** A gateway with an audit trail in a file. */
async function startAudited(t: TestContext, audit: Record<string, unknown> = {}, options: GatewayOptions = {}) {
  const file = join(temporaryFolder(t), 'audit.jsonl');
  const gateway = await startGateway(t, { ...options, top: { audit: { to: { file }, ...audit }, ...options.top } });
  const requests = async (count = 1) => {
    await eventually(`${count} requests are recorded`, () => recordsOf('request', readRecords(file)).length >= count);
    return recordsOf('request', readRecords(file));
  };
  /** Sends a message. */
  const send = (message: unknown = {}, headers: Record<string, string> = {}) =>
    gateway.send(headers, JSON.stringify(message));
  /** The same with the token of a caller. @returns the record of the only request */
  const recordedFor = async (subject: string) => {
    const token = await gateway.authorizationServer.mint({ subject, claims: { azp: 'agent' } });
    const response = await send({}, { authorization: `Bearer ${token}` });
    assert.equal(response.status, 200, response.text);
    return first(await requests());
  };
  return { ...gateway, file, requests, send, recordedFor };
}

function first<T>([item]: readonly T[]): T {
  assert.ok(item !== undefined);
  return item;
}

function exchangeIn(file: string) {
  return first(recordsOf('exchange', readRecords(file)));
}

test('records a request and its exchange with the same request id and trace id, and not in the log', async (t) => {
  const { app, authorizationServer, file, send, requests } = await startAudited(t);
  authorizationServer.behaviour = { kind: 'issue', claims: { jti: 'j-1', scope: 'read', azp: 'cambist' } };
  const traceparent = `00-${TRACE_ID}-b7ad6b7169203331-01`;
  const headers = { 'x-request-id': 'r-1', traceparent, 'mcp-protocol-version': '2025-11-25' };
  assert.equal((await send(TOOL_CALL, headers)).status, 200);
  const request = first(await requests());
  const exchange = exchangeIn(file);
  for (const record of [request, exchange]) {
    assert.deepEqual([record.request_id, record.trace_id, record.route], ['r-1', TRACE_ID, 'github']);
  }
  assert.deepEqual([request.decision, request.status, request.cache], ['forwarded', 200, 'miss']);
  const mcp = { from: 'body', method: 'tools/call', name: 'search', protocol_version: '2025-11-25' };
  assert.deepEqual(request.mcp, mcp);
  assert.equal(exchange.result, 'issued');
  const { token: issued } = request;
  assert.deepEqual([issued?.authorization_server, issued?.jti, issued?.scope], ['local', 'j-1', 'read']);
  assert.equal(typeof issued?.exp, 'number');
  assert.deepEqual([exchange.token?.aud, exchange.requested.resource], [issued?.aud, issued?.aud]);
  assert.ok(!app.logText().includes('"kind":"audit"'));
});

test("takes the issued token's claims as verified where the caller's token is not verified", async (t) => {
  const { authorizationServer, recordedFor } = await startAudited(t);
  authorizationServer.behaviour = { kind: 'issue', subject: 'alice' };
  const { subject, caller } = await recordedFor('mallory');
  assert.deepEqual([subject?.verified, subject?.from, subject?.claims.sub], [true, 'issued_token', 'alice']);
  assert.deepEqual([caller?.verified, caller?.from, caller?.claims.sub], [false, 'caller_token', 'mallory']);
  assert.equal(caller?.claims.azp, 'agent');
});

test("marks the caller's claims as unverified when the exchange is refused", async (t) => {
  const { authorizationServer, send, file, requests } = await startAudited(t);
  authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_target' } };
  assert.equal((await send()).status, 403);
  const request = first(await requests());
  const exchange = exchangeIn(file);
  assert.deepEqual([request.decision, request.error, request.token], ['refused', 'ERR_EXCHANGE_REFUSED', undefined]);
  assert.deepEqual([exchange.result, exchange.oauth_error], ['refused', 'invalid_target']);
  for (const record of [request, exchange]) assert.equal(record.subject?.verified, false);
});

test("takes the caller's claims as verified on a route that verifies them", async (t) => {
  const { app, authorizationServer, config, recordedFor } = await startAudited(t);
  const verify = { issuer: authorizationServer.issuer, audience: 'any' };
  app.reloadTo({ ...config, routes: [{ ...config.routes[0], subject_token: { verify } }] });
  authorizationServer.behaviour = { kind: 'issue', subject: 'pairwise-1' };
  const { subject, caller } = await recordedFor('alice');
  assert.deepEqual([subject?.verified, subject?.from, subject?.claims.sub], [true, 'caller_token', 'alice']);
  assert.equal(caller, undefined);
});

test('records the caller of a route that forwards its token as unverified', async (t) => {
  const { recordedFor, send, requests } = await startAudited(t, {}, { route: { credential: 'passthrough' } });
  const { subject } = await recordedFor('alice');
  assert.deepEqual([subject?.verified, subject?.from, subject?.claims.sub], [false, 'caller_token', 'alice']);
  await send({}, { authorization: 'Bearer opaque-credential' });
  assert.equal((await requests(2))[1]?.subject, undefined);
});

test('records the audience of an issued token that is refused for it', async (t) => {
  const { authorizationServer, send, file, requests } = await startAudited(t);
  authorizationServer.behaviour = { kind: 'issue', audience: ['other', 'and-another'] };
  assert.equal((await send()).status, 502);
  await requests();
  const { error, token } = exchangeIn(file);
  assert.deepEqual([error, token], ['ERR_ISSUED_TOKEN_AUDIENCE', { aud: ['other', 'and-another'] }]);
});

test('nests the chain of actors as RFC 8693 does, the current actor outermost', async (t) => {
  const { authorizationServer, recordedFor } = await startAudited(t);
  const act = { iss: 'https://idp', sub: 'agent-2', act: { sub: 'agent-1', email: 'a@example.com' } };
  authorizationServer.behaviour = { kind: 'issue', claims: { act } };
  const request = await recordedFor('alice');
  const shown = { iss: 'https://idp', sub: 'agent-2', act: { sub: 'agent-1' } };
  assert.deepEqual(request.token?.act, shown);
  assert.deepEqual(request.actor, { verified: true, from: 'issued_token', claims: shown });
});

test('records pseudonyms that the key reproduces, also within act', async (t) => {
  const key = randomBytes(32).toString('hex');
  const pseudonymize = { key: writerInto(temporaryFolder(t))('key', `${key}\n`) };
  const { authorizationServer, recordedFor, file } = await startAudited(t, { pseudonymize });
  authorizationServer.behaviour = { kind: 'issue', subject: 'alice', claims: { act: { sub: 'agent' } } };
  const { claims } = (await recordedFor('alice')).subject ?? {};
  const pseudonym = (value: string) => `hmac:${createHmac('sha256', key).update(value).digest('base64url')}`;
  assert.equal(claims?.sub, pseudonym('alice'));
  assert.deepEqual(claims?.act, { sub: pseudonym('agent') });
  assert.ok(!JSON.stringify(readRecords(file)).includes('alice'));
});

test('never records tokens, arguments, results, queries or the session id', async (t) => {
  const claims = ['iss', 'sub', 'act', 'id_token', 'realm_access'];
  const { app, authorizationServer, subjectToken, file, requests } = await startAudited(t, { claims });
  const inner = await authorizationServer.mint();
  authorizationServer.behaviour = { kind: 'issue', claims: { id_token: inner, realm_access: { roles: ['salary'] } } };
  const headers = { authorization: `Bearer ${subjectToken}`, 'mcp-session-id': 'session-7f3a' };
  const messages = [TOOL_CALL, { ...TOOL_CALL, params: { name: subjectToken } }, { ...TOOL_CALL, method: inner }];
  for (const message of messages) {
    await call(`${app.url}/github?q=salary`, { headers, body: JSON.stringify(message) });
  }
  await requests(3);
  const text = JSON.stringify(readRecords(file));
  const issued = authorizationServer.requests.map((request) => request.issued ?? '');
  for (const secret of [subjectToken, inner, ...issued, 'salary', 'session-7f3a']) assert.ok(!text.includes(secret));
  for (const secret of issued) recordSecret(secret);
});

test('names the tool of a chunked body, and of each message of a batch', async (t) => {
  const { send, requests } = await startAudited(t);
  const chunked = { 'transfer-encoding': 'chunked' };
  await send(TOOL_CALL, chunked);
  await send([TOOL_CALL, { jsonrpc: '2.0', method: 'ping' }], chunked);
  const call = { method: 'tools/call', name: 'search' };
  const [single, batch] = await requests(2);
  assert.deepEqual(single?.mcp, { from: 'body', ...call });
  assert.deepEqual(batch?.mcp, { from: 'body', batch: [call, { method: 'ping' }] });
});

test('names the tool of the headers where the body is too large to be kept', async (t) => {
  const { send, requests } = await startAudited(t);
  const large = { ...TOOL_CALL, padding: 'x'.repeat(70_000) };
  await send(large);
  await send(large, { 'mcp-method': 'tools/call', 'mcp-name': '=?base64?c8O2ZWs=?=' });
  const [unread, header] = await requests(2);
  assert.deepEqual(unread?.mcp, { from: 'unread' });
  assert.deepEqual(header?.mcp, { from: 'header', method: 'tools/call', name: 'söek' });
});

test('names no tool if audit.tools is false', async (t) => {
  const { send, requests } = await startAudited(t, { tools: false });
  await send(TOOL_CALL, { 'mcp-name': 'search' });
  assert.equal(first(await requests()).mcp, undefined);
});

test('records a request without a route and one without a token', async (t) => {
  const { app, requests } = await startAudited(t);
  await call(`${app.url}/nowhere`);
  await call(`${app.url}/github`);
  const [unmatched, missing] = await requests(2);
  assert.deepEqual([unmatched?.error, unmatched?.route], ['ERR_ROUTE_NOT_FOUND', undefined]);
  assert.deepEqual([missing?.error, missing?.decision, missing?.status], ['ERR_SUBJECT_TOKEN_MISSING', 'refused', 401]);
});

test('records an exchange that the shutdown ends', async (t) => {
  const options = { top: { limits: { shutdown_grace: '10ms' } } };
  const { app, authorizationServer, send, file } = await startAudited(t, {}, options);
  authorizationServer.behaviour = { kind: 'issue', until: new Promise(() => {}) };
  const request = send().catch(() => {});
  await eventually('the server has the request', () => authorizationServer.requests.length === 1);
  await app.stop();
  await request;
  const { result, error } = exchangeIn(file);
  assert.deepEqual([result, error], ['refused', 'ERR_STS_UNAVAILABLE']);
});
