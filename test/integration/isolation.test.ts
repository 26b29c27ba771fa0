import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import { startTestApp } from '../harness/app.ts';
import { type FakeAuthorizationServer, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { type FakeUpstream, startFakeUpstream } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { echo } from '../harness/upstream-handlers.ts';

const NAMES = ['red', 'blue'] as const;
type Name = (typeof NAMES)[number];

/** Every method of client authentication, with values that only its own server may receive. */
const METHODS: Record<string, (name: Name, file: (name: string, text: string) => { file: string }) => object> = {
  client_secret_basic: (name, file) => ({ client_secret: file(`${name}-secret`, secretOf(name)) }),
  client_secret_post: (name, file) => ({ client_secret: file(`${name}-secret`, secretOf(name)) }),
  client_secret_jwt: (name, file) => ({ client_secret: file(`${name}-secret`, secretOf(name)) }),
  private_key_jwt: (name, file) => ({ private_key: file(`${name}-key`, newKey()) }),
  client_assertion: (name, file) => ({ client_assertion: file(`${name}-assertion`, secretOf(name)) }),
  none: () => ({}),
};

const secretOf = (name: Name): string => `${name}-secret-that-is-long-enough-to-be-found-anywhere`;
const newKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

interface Side {
  readonly server: FakeAuthorizationServer;
  readonly upstream: FakeUpstream;
  readonly subject: string;
}

async function start(t: TestContext, method: string) {
  const folder = temporaryFolder(t);
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return { file: join(folder, name) };
  };
  const side = async (name: Name): Promise<Side> => {
    const server = await startFakeAuthorizationServer();
    const upstream = await startFakeUpstream(echo);
    t.after(server.close);
    t.after(upstream.close);
    return { server, upstream, subject: await server.mint({ subject: `${name}-caller` }) };
  };
  const sides = { red: await side('red'), blue: await side('blue') };
  const app = await startTestApp(t, {
    authorization_servers: Object.fromEntries(
      NAMES.map((name) => [
        name,
        {
          issuer: sides[name].server.issuer,
          client_id: `client-of-${name}`,
          client_auth: { method, ...METHODS[method]?.(name, file) },
          extra_params: { colour: name },
        },
      ]),
    ),
    routes: NAMES.map((name) => ({
      name,
      match: { path: `/${name}` },
      upstream: `${sides[name].upstream.url}/mcp`,
      authorization_server: name,
    })),
  });
  const send = (name: Name, path = name) =>
    call(`${app.url}/${path}`, { headers: { authorization: `Bearer ${sides[name].subject}` }, body: '{}' });
  return { sides, app, send };
}

/** Everything that one side has received, as text. */
function receivedBy({ server, upstream }: Side): string {
  const tokens = server.requests.map(({ form, headers }) => [form.toString(), JSON.stringify(headers)]);
  const assertions = server.requests
    .flatMap(({ form }) => form.getAll('client_assertion'))
    .filter((jwt) => /^ey/.test(jwt));
  const basic = server.requests.map(({ headers }) =>
    Buffer.from(String(headers.authorization).replace('Basic ', ''), 'base64').toString(),
  );
  const backend = upstream.requests.map(({ rawHeaders }) => rawHeaders);
  return JSON.stringify([tokens, basic, assertions.map((jwt) => decodeJwt(jwt)), backend]);
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

  test(`with ${method}, a redirect of a server sends nothing to another server`, async (t) => {
    const { sides, send } = await start(t, method);
    for (const status of [301, 302, 303, 307, 308]) {
      sides.red.server.behaviour = { kind: 'response', status, headers: { location: sides.blue.server.tokenEndpoint } };
      assert.equal((await send('red')).status, 502);
    }
    sides.red.server.metadataBehaviour = {
      kind: 'response',
      status: 307,
      headers: { location: sides.blue.server.issuer },
    };
    assert.equal(sides.blue.server.requests.length, 0);
    assertApart(sides);
  });

  test(`with ${method}, metadata that names another server sends nothing there`, async (t) => {
    const { sides, send, app } = await start(t, method);
    const { tokenEndpoint, issuer } = sides.blue.server;
    for (const fields of [
      { token_endpoint: tokenEndpoint },
      { issuer, token_endpoint: tokenEndpoint },
      { token_endpoint: `${issuer}/other/token` },
    ]) {
      sides.red.server.metadataBehaviour = { kind: 'document', fields };
      assert.equal((await send('red')).status, 502);
    }
    assert.equal(sides.blue.server.requests.length, 0);
    assert.match(app.logText(), /its metadata names a token endpoint on the host of authorization server \\"blue\\"/);
    sides.red.server.metadataBehaviour = { kind: 'document' };
    assertApart(sides);
  });

  test(`with ${method}, a refusal by one server sends nothing to the other`, async (t) => {
    const { sides, send } = await start(t, method);
    for (const response of [
      { status: 401, body: { error: 'invalid_client' }, headers: { 'www-authenticate': 'Basic realm="blue"' } },
      { status: 400, body: { error: 'use_dpop_nonce' }, headers: { 'dpop-nonce': 'n' } },
      { status: 503, body: '', headers: { location: sides.blue.server.tokenEndpoint } },
    ]) {
      sides.red.server.behaviour = { kind: 'response', ...response };
      assert.ok((await send('red')).status >= 401);
    }
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
