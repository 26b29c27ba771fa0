import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { bytesOf, readFields } from '../../src/protobuf.ts';
import { headersMessage, KINDS, startCheckClient } from '../harness/check-client.ts';
import { eventually } from '../harness/eventually.ts';
import { respond } from '../harness/fake-upstream.ts';
import { AS_DATA_PLANE } from '../harness/gateway.ts';
import { assertProblem, call, connectRaw, problemOf } from '../harness/http-call.ts';
import { connectIntercepted, openTunnel, secured } from '../harness/intercepted.ts';
import { startTeamGateway, TEAM_HOST, type TeamGateway, teamFile } from '../harness/team-gateway.ts';
import { words } from '../harness/words.ts';

/** A response, in whichever form the client gets it. */
interface Seen {
  readonly status: number;
  readonly text: string;
}

function assertNothingSent({ team, upstream, authorizationServer }: TeamGateway): void {
  assert.deepEqual(
    [team, upstream, authorizationServer].map(({ requests }) => requests.length),
    [0, 0, 0],
  );
}

type WayIn = readonly [name: string, send: (gateway: TeamGateway, t: TestContext) => Promise<Seen>];

const PATH = '/billing/ledger';

function seenIn(response: string): Seen {
  const [head = '', ...text] = response.split('\r\n\r\n');
  return { status: Number(head.split(' ')[1]), text: text.join('\r\n\r\n') };
}

/** A request whose response closes the connection. */
const requestOf = ({ authorization }: TeamGateway, target = PATH, host = 'localhost', more = 'Connection: close\r\n') =>
  `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\n${more}\r\n`;

async function sendBytes(url: string | undefined, request: string): Promise<Seen> {
  const connection = await connectRaw(url ?? assert.fail());
  connection.send(request);
  if (request.includes('Upgrade')) {
    await connection.until('\r\n\r\n');
    connection.socket.end();
  }
  return seenIn(await connection.closed());
}

async function processed({ app, authorization }: TeamGateway, t: TestContext, metadata: object): Promise<Seen> {
  const { open } = startCheckClient(t, app.decisionsByGrpc ?? '');
  const { call: opened, responses } = open('/envoy.service.ext_proc.v3.ExternalProcessor/Process', { ...metadata });
  const headers = { ':method': 'GET', ':path': PATH, ':scheme': 'http', ':authority': 'localhost', authorization };
  opened.write(headersMessage('request_headers', { headers }));
  await eventually('a response', () => responses.length > 0);
  opened.end();
  const fields = readFields(responses[0] ?? assert.fail());
  if (fields.has(KINDS.request_headers - 1)) return { status: 200, text: '' };
  const immediate = readFields(bytesOf(fields, 7));
  return { status: 503, text: bytesOf(immediate, 3).toString() };
}

async function checked({ app, authorization }: TeamGateway, t: TestContext, route: string): Promise<Seen> {
  const { check } = startCheckClient(t, app.decisionsByGrpc ?? '');
  const headers = [['authorization', authorization]] as const;
  const context = [['route', route]] as const;
  const { isAllowed, status = 200, body } = await check({ path: PATH, host: 'localhost', headers, context });
  assert.equal(isAllowed, status === 200);
  return { status, text: body };
}

const askBy = (path: string, headers: Record<string, string> = {}) =>
  async function ask({ app, authorization }: TeamGateway): Promise<Seen> {
    return call(`${app.decisions}${path}`, { headers: { ...AS_DATA_PLANE, authorization, ...headers } });
  };

const FORWARDED = { 'x-forwarded-method': 'GET', 'x-forwarded-uri': PATH, 'x-forwarded-host': 'localhost' };
const ORIGINAL = { 'x-original-method': 'GET', 'x-original-uri': PATH, 'x-original-host': 'localhost' };

const UPGRADE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';

const BY_MATCH: readonly WayIn[] = [
  ['GET', ({ send }) => send(PATH)],
  ['absolute-form', (to) => sendBytes(to.app.url, requestOf(to, `http://localhost${PATH}`, 'other.test'))],
  ['another spelling of the host', (to) => sendBytes(to.app.url, requestOf(to, PATH, 'LOCALHOST.:8180'))],
  [
    'plain HTTP in a CONNECT',
    async (gateway) => {
      const tunnel = await openTunnel(gateway.app.url, `${TEAM_HOST}:443`);
      tunnel.send(requestOf(gateway, PATH, TEAM_HOST));
      return seenIn((await tunnel.closed()).replace(/^HTTP\/1\.1 200 Connection Established\r\n\r\n/, ''));
    },
  ],
  [
    'intercepted TLS in a CONNECT',
    async (gateway) => {
      const authority = `${TEAM_HOST}:443`;
      const tls = await connectIntercepted(gateway.app.url, gateway.ca, { authority, servername: TEAM_HOST });
      tls.send(requestOf(gateway, PATH, TEAM_HOST));
      return seenIn(await tls.closed());
    },
  ],
  [
    'redirected TLS',
    async (gateway) => {
      const { port } = new URL(gateway.app.intercepting[0] ?? assert.fail());
      const socket = connectTcp(Number(port), '127.0.0.1');
      const tls = await secured(connectTls({ socket, ca: gateway.ca, servername: TEAM_HOST }));
      tls.send(requestOf(gateway, PATH, TEAM_HOST));
      return seenIn(await tls.closed());
    },
  ],
  ['redirected HTTP', (to) => sendBytes(to.app.intercepting[0], requestOf(to, PATH, TEAM_HOST))],
  ['a WebSocket handshake', (to) => sendBytes(to.app.url, requestOf(to, PATH, 'localhost', UPGRADE))],
  ['a decision by ext-authz', askBy(`/ext-authz${PATH}`, { host: 'localhost' })],
  ['a decision by forward-auth', askBy('/forward-auth', FORWARDED)],
  ['a decision by gRPC', (gateway, t) => checked(gateway, t, 'ignored')],
  ['a decision by ext_proc', (gateway, t) => processed(gateway, t, {})],
];

const BY_NAME: readonly WayIn[] = [
  ['a decision by ext-authz', askBy(`/ext-authz/billing/ledger${PATH}`, { host: 'localhost' })],
  ['a decision by forward-auth', askBy('/forward-auth/billing/ledger', FORWARDED)],
  ['a decision by gRPC', (gateway, t) => checked(gateway, t, 'billing/ledger')],
  ['a decision by ext_proc', (gateway, t) => processed(gateway, t, { 'x-cambist-route': 'billing/ledger' })],
];

for (const [routesBy, ways] of [
  ['match', BY_MATCH],
  ['name', BY_NAME],
] as const) {
  for (const [name, send] of ways) {
    test(`refuses ${name} into a closed region by ${routesBy}, sends nothing, and serves it once the file is valid`, async (t) => {
      const gateway = await startTeamGateway(t, routesBy);
      const { write, apply, upstream, authorizationServer } = gateway;
      await write('billing', 'routes: [');
      await apply();
      const { status, text } = await send(gateway, t);
      assert.equal(status, 503, text);
      assert.equal((JSON.parse(text) as { code: string }).code, 'ERR_ROUTES_INVALID');
      assertNothingSent(gateway);
      await write('billing', teamFile(gateway, PATH, ['localhost', TEAM_HOST]));
      await apply();
      const served = await send(gateway, t);
      assert.ok([101, 200].includes(served.status), served.text);
      assert.deepEqual([authorizationServer.requests.length, upstream.requests.length], [1, 0]);
    });
  }
}

test('refuses a message, a HEAD, and an auth-request into a closed region in their own shapes', async (t) => {
  const gateway = await startTeamGateway(t);
  const { app, authorization, write, apply, send } = gateway;
  await write('billing', 'routes: [');
  await apply();
  const headers = { host: 'localhost', authorization };
  const message = { jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name: 'x' } };
  const asMcp = await call(app.url + PATH, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify(message),
  });
  assertProblem(asMcp, 'ERR_ROUTES_INVALID');
  assert.equal((JSON.parse(asMcp.text) as { id: number }).id, 7);
  const head = await send(PATH, 'localhost', 'HEAD');
  assert.deepEqual([head.status, head.text], [503, '']);
  // nginx takes every status but 401 and 403 for a fault.
  const asNginx = await call(`${app.decisions}/auth-request`, {
    headers: { ...AS_DATA_PLANE, ...headers, ...ORIGINAL },
  });
  assert.deepEqual(
    [asNginx.status, asNginx.headers['x-cambist-status'], asNginx.headers['x-cambist-error']],
    [403, '503', 'ERR_ROUTES_INVALID'],
  );
  assert.equal(problemOf(asNginx).code, 'ERR_ROUTES_INVALID');
  assertNothingSent(gateway);
});

/** Requests in regions of teams, by their host, in every spelling that reaches a parser. None has a route of the team. */
const SPELLINGS: Readonly<Record<string, string[]>> = {
  localhost: words(`
    /billing /billing/ /billing?x /billing/../billing /x/..;/billing /x/%2e%2e/billing /./billing /billing%2Fx
    /%2Fbilling /x%5c..%5cbilling /b%69lling /billing%00 /billing%20 /billing;a=b //billing /billing//x
    /%c0%ae%c0%ae/billing /.well-known/oauth-protected-resource/billing
    /.well-known/oauth-protected-resource/%62illing /.well-known/oauth-protected-resource//billing
    /.well-known/%6fauth-protected-resource/billing
  `),
  LOCALHOST: ['/billing'],
  'localhost.': ['/billing'],
  'localhost:65535': ['/billing'],
  'localhost.:1': ['/billing'],
  'other.test': words(`
    http://localhost/billing HTTP://LOCALHOST:80/billing https://localhost/billing http://localhost./billing
    http://localhost/.well-known/oauth-protected-resource/billing
  `),
  'support.example.com': ['/', '/.well-known/oauth-protected-resource'],
  'SUPPORT.EXAMPLE.COM.:443': ['/anything'],
};
const SPELLED = Object.entries(SPELLINGS).flatMap(([host, targets]) => targets.map((target) => ({ host, target })));

test('gives no spelling of a request in a region to a route of the main file', async (t) => {
  const [byMatch, byName] = [await startTeamGateway(t), await startTeamGateway(t, 'name')];
  for (const gateway of [byMatch, byName]) {
    await gateway.write('billing', teamFile(gateway));
    await gateway.write('support', 'routes: []');
    await gateway.apply();
  }
  for (const { target, host } of SPELLED) {
    const { status, text } = await sendBytes(byMatch.app.url, requestOf(byMatch, target, host));
    assert.equal(status, 403, `${target} ${host} ${text}`);
  }
  assertNothingSent(byMatch);
  const asDataPlane = Object.entries(AS_DATA_PLANE).map((line) => `${line.join(': ')}\r\n`);
  for (const { target, host } of SPELLED.filter(({ host }) => host !== 'other.test')) {
    const request = requestOf(
      byName,
      `/ext-authz/github${target}`,
      host,
      `${asDataPlane.join('')}Connection: close\r\n`,
    );
    const { status, text } = await sendBytes(byName.app.decisions, request);
    assert.equal(status, 403, `by name: ${target} ${host} ${text}`);
  }
  assert.deepEqual(byName.authorizationServer.requests, []);
});

test('a missing secret of a team leaves the gateway ready, and fails requests of its route alone', async (t) => {
  const { write, apply, app, files, team, send } = await startTeamGateway(t);
  const route = { name: 'ledger', match: { path: PATH, host: 'localhost' }, upstream: team.url };
  const secret = { file: join(files, 'missing') };
  await write('support', 'routes: []');
  await write('billing', JSON.stringify({ routes: [{ ...route, credential: 'secret', secret }] }));
  await apply();
  assert.equal((await send('/other')).status, 200);
  assertProblem(await send(PATH), 'ERR_CREDENTIAL_UNAVAILABLE');
  const ready = await call(`${app.admin}/readyz`);
  assert.equal(ready.status, 200, ready.text);
  assert.equal(team.requests.length, 0);
});

test('refuses the link of another backend into a region, closed or open, as one into another route', async (t) => {
  const gateway = await startTeamGateway(t);
  const { write, apply, send, upstream } = gateway;
  upstream.handler = respond(302, '', { location: 'http://localhost/billing/ledger' });
  for (const text of ['routes: [', teamFile(gateway)]) {
    await write('billing', text);
    await apply();
    assertProblem(await send('/other'), 'ERR_CROSS_ROUTE_REFERENCE');
  }
});
