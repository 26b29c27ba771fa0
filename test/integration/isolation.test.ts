import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import { routeTo, startTestApp } from '../harness/app.ts';
import {
  type FakeAuthorizationServer,
  type MetadataBehaviour,
  startFakeAuthorizationServer,
} from '../harness/fake-authorization-server.ts';
import { echo, type FakeUpstream, startFakeUpstream } from '../harness/fake-upstream.ts';
import { type Gateway, startGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

const NAMES = ['red', 'blue'] as const;
type Name = (typeof NAMES)[number];

type File = ReturnType<typeof writerInto>;

const secretOf = (name: Name): string => `${name}-secret-that-is-long-enough-to-be-found-anywhere`;
const newKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const withSecret = (name: Name, file: File) => ({ client_secret: file(`${name}-secret`, secretOf(name)) });

/** Every method of client authentication, with values that only its own server may receive. */
const METHODS: Record<string, (name: Name, file: File) => object> = {
  client_secret_basic: withSecret,
  client_secret_post: withSecret,
  client_secret_jwt: withSecret,
  private_key_jwt: (name, file) => ({ private_key: file(`${name}-key`, newKey()) }),
  client_assertion: (name, file) => ({ client_assertion: file(`${name}-assertion`, secretOf(name)) }),
  none: () => ({}),
};

interface Side {
  readonly server: FakeAuthorizationServer;
  readonly upstream: FakeUpstream;
  readonly subject: string;
}

async function start(t: TestContext, method: string) {
  const file = writerInto(temporaryFolder(t));
  const side = async (name: Name): Promise<Side> => {
    const server = await startFakeAuthorizationServer(t);
    const upstream = await startFakeUpstream(t, echo);
    return { server, upstream, subject: await server.mint({ subject: `${name}-caller` }) };
  };
  const sides = { red: await side('red'), blue: await side('blue') };
  const serverOf = (name: Name) => ({
    issuer: sides[name].server.issuer,
    client_id: `client-of-${name}`,
    client_auth: { method, ...METHODS[method]?.(name, file) },
    extra_params: { colour: name },
  });
  const routeOf = (name: Name) => routeTo(name, `${sides[name].upstream.url}/mcp`, { authorization_server: name });
  const authorization_servers = { red: serverOf('red'), blue: serverOf('blue') };
  const app = await startTestApp(t, { authorization_servers, routes: NAMES.map(routeOf) });
  const send = (name: Name, path = name) =>
    call(`${app.url}/${path}`, { headers: { authorization: `Bearer ${sides[name].subject}` }, body: '{}' });
  return { sides, app, send };
}

/** Everything that one side has received, as text. */
function receivedBy({ server, upstream }: Side): string {
  const received = server.requests.map(({ form, headers }) => {
    const basic = Buffer.from(String(headers.authorization).replace('Basic ', ''), 'base64').toString();
    const assertions = form.getAll('client_assertion').filter((jwt) => /^ey/.test(jwt));
    return [form.toString(), headers, basic, assertions.map((jwt) => decodeJwt(jwt))];
  });
  return JSON.stringify([received, upstream.requests.map(({ rawHeaders }) => rawHeaders)]);
}

function assertApart(sides: Record<Name, Side>): void {
  for (const [name, other] of [NAMES, [...NAMES].reverse()] as [Name, Name][]) {
    const seen = receivedBy(sides[name]);
    const foreign = [
      secretOf(other),
      `client-of-${other}`,
      `colour=${other}`,
      sides[other].subject,
      sides[other].server.issuer,
      ...sides[other].server.requests.flatMap(({ issued }) => issued ?? []),
    ];
    for (const text of foreign) assert.ok(!seen.includes(text), `${name} received ${text} of ${other}`);
  }
}

for (const method of Object.keys(METHODS)) {
  test(`with ${method}, a server gets its own client's credentials and its own callers' tokens only`, async (t) => {
    const { sides, send } = await start(t, method);
    for (const name of NAMES) assert.equal((await send(name)).status, 200);
    assert.equal(sides.red.server.requests.length, 1);
    assert.ok(receivedBy(sides.red).includes('client-of-red'));
    assertApart(sides);
  });

  test(`with ${method}, metadata that names another server or redirects to it sends nothing there`, async (t) => {
    for (const behaviourOf of [
      ({ tokenEndpoint: token_endpoint }) => ({ kind: 'document', fields: { token_endpoint } }),
      ({ issuer, tokenEndpoint: token_endpoint }) => ({ kind: 'document', fields: { issuer, token_endpoint } }),
      ({ issuer }) => ({ kind: 'document', fields: { token_endpoint: `${issuer}/other/token` } }),
      ({ issuer: location }) => ({ kind: 'response', status: 307, headers: { location } }),
    ] as ((server: FakeAuthorizationServer) => MetadataBehaviour)[]) {
      const { sides, send, app } = await start(t, method);
      const behaviour = behaviourOf(sides.blue.server);
      sides.red.server.metadataBehaviour = behaviour;
      assert.equal((await send('red')).status, 502);
      const named = app.logText().includes('token endpoint on the host of authorization server \\"blue\\"');
      assert.equal(named, behaviour.kind === 'document' && behaviour.fields?.issuer === undefined);
      assert.equal(sides.blue.server.requests.length, 0);
      assertApart(sides);
    }
  });

  test(`with ${method}, neither a redirect nor a refusal by one server sends anything to the other`, async (t) => {
    const { sides, send } = await start(t, method);
    const headers = { location: sides.blue.server.tokenEndpoint };
    for (const response of [
      ...[301, 302, 303, 307, 308].map((status) => ({ status, headers })),
      { status: 401, body: { error: 'invalid_client' }, headers: { 'www-authenticate': 'Basic realm="blue"' } },
      { status: 400, body: { error: 'use_dpop_nonce' }, headers: { 'dpop-nonce': 'n' } },
      { status: 503, body: '', headers },
    ]) {
      sides.red.server.behaviour = { kind: 'response', ...response };
      const { status } = await send('red');
      assert.ok(response.status < 400 ? status === 502 : status >= 401);
    }
    assert.equal(sides.blue.server.requests.length, 0);
    assert.equal((await send('blue')).status, 200);
    assert.equal(sides.blue.server.requests.length, 1);
    assertApart(sides);
  });
}

test('a caller of one server on the route of the other gets a token of the other', async (t) => {
  const { sides, send } = await start(t, 'client_secret_post');
  await send('red');
  assert.equal((await send('red', 'blue')).status, 200);
  assert.equal(sides.blue.server.requests.length, 1);
  const [red] = sides.red.server.requests;
  const [blue] = sides.blue.server.requests;
  assert.deepEqual(sides.blue.upstream.requests[0]?.authorization, [`Bearer ${blue?.issued}`]);
  assert.notEqual(blue?.issued, red?.issued);
});

/** Adds routes to the upstream, each at the path with its name. */
function addRoutes({ app, config, upstream }: Gateway, routes: Record<string, Record<string, unknown>>): void {
  const more = Object.entries(routes).map(([name, keys]) => routeTo(name, upstream.url, keys));
  app.reloadTo({ ...config, routes: [...config.routes, ...more] });
}

/** Every kind of route that forwards requests without a caller's token, and one that requires a token. */
async function startOpen(t: TestContext, keys: Record<string, unknown> = {}) {
  const gateway = await startGateway(t);
  const file = writerInto(temporaryFolder(t))('subject-token', gateway.subjectToken);
  addRoutes(gateway, {
    service: { credential: 'client_credentials', ...keys },
    none: { credential: 'none', ...keys },
    passthrough: { credential: 'passthrough', ...keys },
    missing: { on_missing_subject: 'client_credentials', ...keys },
    file: { subject_token: file, ...keys },
  });
  return gateway;
}

const OPEN = ['service', 'none', 'passthrough', 'missing', 'file'];

const BROWSER: Record<string, Record<string, string>> = {
  'a simple cross-site POST': { origin: 'https://evil.example.org', 'content-type': 'text/plain' },
  'a cross-site GET without Origin': { 'sec-fetch-site': 'cross-site' },
  'a page of another port': { origin: 'http://127.0.0.1:1', 'sec-fetch-site': 'same-site' },
  'a page behind DNS rebinding': { host: 'evil.example.org', origin: 'http://evil.example.org' },
  'a GET of a page behind DNS rebinding': { host: 'evil.example.org' },
  'a page of the local network': { host: 'evil.local', 'sec-fetch-site': 'same-origin' },
  'a page of a name without a dot': { host: 'evil', 'sec-fetch-site': 'same-origin' },
};

for (const [request, headers] of Object.entries(BROWSER)) {
  test(`${request} needs the caller's token on every route`, async (t) => {
    const { app, upstream, authorizationServer, authorization } = await startOpen(t);
    const send = (name: string, more = {}) =>
      call(`${app.url}/${name}`, { headers: { ...headers, ...more }, body: '{}' });
    for (const name of OPEN) assertProblem(await send(name), 'ERR_CROSS_SITE_REQUEST');
    assertProblem(await send('github'), 'ERR_SUBJECT_TOKEN_MISSING');
    assert.equal(upstream.requests.length + authorizationServer.requests.length, 0);
    const refused = { route: 'service', error: 'ERR_CROSS_SITE_REQUEST' };
    assert.equal(await app.metric('cambist_failures_total', refused), 1);
    for (const name of ['github', 'passthrough', 'missing']) {
      assert.equal((await send(name, { authorization })).status, 200, name);
    }
  });
}

test('forwards a request from an allowed origin, and one without browser headers', async (t) => {
  const { app } = await startOpen(t, { allowed_origins: ['https://app.example.com'] });
  for (const name of OPEN) {
    for (const headers of [{}, { origin: 'https://app.example.com', 'sec-fetch-site': 'cross-site' }]) {
      assert.equal((await call(`${app.url}/${name}`, { headers, body: '{}' })).status, 200, name);
    }
    const headers = { origin: 'https://app.example.org' };
    assertProblem(await call(`${app.url}/${name}`, { headers }), 'ERR_CROSS_SITE_REQUEST');
  }
});

test('refuses a cross-site WebSocket handshake', async (t) => {
  const { app, upstream } = await startOpen(t);
  const headers = { connection: 'upgrade', upgrade: 'websocket', origin: 'https://evil.example.org' };
  assertProblem(await call(`${app.url}/service`, { headers }), 'ERR_CROSS_SITE_REQUEST');
  assert.equal(upstream.requests.length, 0);
});

const TOKEN = 'broad+token/of-the_user==';
const OTHER = 'token-of-the-workload';

/** Routes of all kinds to one upstream. Two of them have their own token header. */
async function startMixed(t: TestContext) {
  const gateway = await startGateway(t, { route: { subject_token: { header: 'x-user-token' } } });
  const { app, upstream } = gateway;
  addRoutes(gateway, {
    plain: {},
    service: { credential: 'client_credentials' },
    open: { credential: 'none' },
    own: { credential: 'passthrough', subject_token: { header: 'x-own-token' } },
  });
  const send = async (name: string, headers: Record<string, string>) => {
    const { status } = await call(`${app.url}/${name}`, { headers });
    assert.equal(status, 200);
    return upstream.requests.at(-1) ?? assert.fail();
  };
  return { ...gateway, send };
}

test("drops the token header of one route, and copies of its value, on another route's requests", async (t) => {
  const { send } = await startMixed(t);
  for (const name of ['plain', 'service', 'open']) {
    for (const header of ['x-user-token', 'x-own-token', 'X-User-Token']) {
      const headers = { authorization: `Bearer ${OTHER}`, [header]: TOKEN, 'x-copy': `is ${TOKEN}`, 'x-kept': 'yes' };
      const received = await send(name, headers);
      assert.ok(!JSON.stringify(received.rawHeaders).includes(TOKEN), `${name} ${header}`);
      assert.equal(received.headers['x-kept'], 'yes');
    }
  }
});

test('forwards its own token headers on a passthrough route, but not those of other routes', async (t) => {
  const { send } = await startMixed(t);
  const own = { authorization: `Bearer ${OTHER}`, 'x-own-token': 'own-token-of-it', dpop: 'a-proof' };
  const { headers } = await send('own', { ...own, 'x-user-token': TOKEN });
  const { authorization, 'x-own-token': token, dpop } = headers;
  assert.deepEqual({ authorization, 'x-own-token': token, dpop }, own);
  assert.equal(headers['x-user-token'], undefined);
});

/** Different encodings of the same token. */
const ENCODINGS = {
  unencoded: TOKEN,
  'as a browser encodes it': encodeURIComponent(TOKEN),
  'in lower case': encodeURIComponent(TOKEN).replace(/%../g, (escaped) => escaped.toLowerCase()),
  'with needless escapes': TOKEN.replace('b', '%62').replace('-', '%2D'),
};
for (const [encoding, written] of Object.entries(ENCODINGS)) {
  test(`refuses the caller's token in a query, and drops a cookie that contains it: ${encoding}`, async (t) => {
    const { app, send, upstream, authorizationServer } = await startMixed(t);
    for (const headers of [{ authorization: `Bearer ${TOKEN}` }, { 'x-user-token': TOKEN }]) {
      for (const path of [`/plain?access_token=${written}`, `/open/${written.replace('/', '%2F')}`]) {
        assertProblem(await call(app.url, { path, headers }), 'ERR_SUBJECT_TOKEN_INVALID');
      }
    }
    assert.equal(upstream.requests.length + authorizationServer.requests.length, 0);
    const received = await send('plain', { authorization: `Bearer ${TOKEN}`, cookie: `a=1; t=${written}` });
    assert.equal(received.headers.cookie, undefined);
    assert.ok(!app.logText().includes(written));
  });
}

test('refuses a request with too many tokens to compare with the other headers', async (t) => {
  const { app, upstream, authorizationServer } = await startMixed(t);
  const tokens = (count: number) =>
    Array.from({ length: count }, (_, index) => ['X-User-Token', `token-${1000 + index}`]).flat();
  for (const path of ['/plain', '/open', '/own']) {
    const headers = ['Authorization', `Bearer ${OTHER}`, ...tokens(16)];
    assertProblem(await call(app.url, { path, headers }), 'ERR_SUBJECT_TOKEN_INVALID');
  }
  assert.equal(upstream.requests.length + authorizationServer.requests.length, 0);
  const headers = ['Authorization', `Bearer ${OTHER}`, ...tokens(15)];
  assert.equal((await call(`${app.url}/plain`, { headers })).status, 200);
});
