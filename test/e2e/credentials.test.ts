import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose';
import {
  type ClientRegistration,
  type RunningAuthorizationServer,
  startAuthorizationServer,
} from '../harness/authorization-server.ts';
import { type CambistProcess, startCambist } from '../harness/cambist-process.ts';
import { type FakeUpstream, startFakeUpstream } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';
import { answer } from '../harness/upstream-handlers.ts';

const SECRET = 'a-client-secret-of-32-characters';
const RESOURCE = 'https://github.example.com/mcp';
const OTHER = 'https://docs.example.com/mcp';
const BASIC = { method: 'client_secret_basic', client_secret: { file: 'secret' } };

interface RealScene {
  server: RunningAuthorizationServer;
  cambist: CambistProcess;
  upstream: FakeUpstream;
  /** A caller's token that `client` may exchange. */
  subjectToken(sub?: string): Promise<string>;
  /** One request that has to be forwarded; the claims of the token that the upstream got, verified. */
  forward(headers: Record<string, string>): Promise<JWTPayload>;
}

interface RealSceneOptions {
  clientId?: string;
  client?: ClientRegistration;
  /** `client_auth` of the config. */
  auth?: Record<string, unknown>;
  files?: Record<string, string>;
  /** Written when the authorization server is there, and before cambist is. */
  late?: (server: RunningAuthorizationServer) => Promise<Record<string, string>>;
  route?: Record<string, unknown>;
}

/** cambist before an authorization server that verifies everything. */
async function startRealScene(t: TestContext, options: RealSceneOptions = {}): Promise<RealScene> {
  const { clientId = 'cambist', client = { method: 'client_secret_basic', secret: SECRET }, auth = BASIC } = options;
  const server = await startAuthorizationServer({
    clients: { [clientId]: client },
    resources: {
      [RESOURCE]: { scopes: ['repo:read', 'issues:read'], audience: 'github' },
      [OTHER]: { scopes: ['docs:read'], audience: 'docs' },
    },
  });
  t.after(server.close);
  const upstream = await startFakeUpstream(answer(200, 'fine'));
  t.after(upstream.close);
  const route = { name: 'r', match: { path: '/r' }, upstream: upstream.url, resource: RESOURCE, ...options.route };
  const cambist = await startCambist({
    config: {
      authorization_servers: { real: { issuer: server.issuer, client_id: clientId, client_auth: auth } },
      routes: [Object.fromEntries(Object.entries(route).filter(([, value]) => value !== null))],
    },
    files: { secret: SECRET, ...options.files, ...(await options.late?.(server)) },
  });
  t.after(cambist.close);
  await cambist.ready();
  const keys = createRemoteJWKSet(new URL(server.jwksUri));
  return {
    server,
    cambist,
    upstream,
    subjectToken: (sub = 'alice') => server.issueSubjectToken({ sub, audience: ['my-agent', clientId] }),
    forward: async (headers) => {
      const { status, text } = await call(`${cambist.url}/r`, { method: 'POST', headers });
      assert.equal(status, 200, `${text}\n${server.faults}\n${cambist.stdout()}`);
      const [authorization = '', ...more] = upstream.requests.at(-1)?.authorization ?? [];
      assert.deepEqual(more, []);
      const { payload } = await jwtVerify(authorization.replace(/^Bearer /, ''), keys, { issuer: server.issuer });
      return payload;
    },
  };
}

async function exchangeOnce(t: TestContext, options: RealSceneOptions): Promise<JWTPayload> {
  const scene = await startRealScene(t, options);
  const claims = await scene.forward({ authorization: `Bearer ${await scene.subjectToken()}` });
  assert.deepEqual(
    scene.server.requests.map(({ client, error }) => [client, error]),
    [[options.clientId ?? 'cambist', undefined]],
  );
  assert.equal(claims.sub, 'alice');
  return claims;
}

test('client_secret_basic is accepted, with ordinary and with odd characters in id and secret', async (t) => {
  for (const [clientId, secret] of [
    ['cambist', SECRET],
    ['cambist:agents/1+2 3', 'p@ss:w0rd%20 &+=/?"~-_.!*()'],
  ] as const) {
    const client = { method: 'client_secret_basic', secret } as const;
    assert.equal((await exchangeOnce(t, { clientId, client, files: { secret } })).aud, RESOURCE);
  }
});

test('client_secret_post is accepted, with odd characters, and a line end after the secret in the file', async (t) => {
  const secret = 'p@ss:w0rd%20 &+=/?"~';
  const auth = { method: 'client_secret_post', client_secret: { file: 'secret' } };
  const client = { method: 'client_secret_post', secret } as const;
  assert.equal((await exchangeOnce(t, { client, auth, files: { secret: `${secret}\n` } })).aud, RESOURCE);
});

test('a public client names itself and proves nothing', async (t) => {
  const claims = await exchangeOnce(t, { client: { method: 'none' }, auth: { method: 'none' } });
  assert.equal(claims.client_id, 'cambist');
});

test('a wrong secret is our fault and not the caller’s', async (t) => {
  const scene = await startRealScene(t, { files: { secret: 'another-secret-of-32-characters-' } });
  const headers = { authorization: `Bearer ${await scene.subjectToken()}` };
  const { status, text } = await call(`${scene.cambist.url}/r`, { method: 'POST', headers });
  assert.equal(status, 502);
  assert.match(text, /ERR_CLIENT_REFUSED/);
});

test('a route may ask for several resources, and for fewer scopes than it could have', async (t) => {
  const { aud, scope } = await exchangeOnce(t, {
    route: { resource: [RESOURCE, OTHER], scope: 'docs:read repo:read' },
  });
  assert.deepEqual(aud, [RESOURCE, OTHER]);
  assert.equal(scope, 'docs:read repo:read');
});

test('a route may name its backend by audience alone', async (t) => {
  const scene = await startRealScene(t, { route: { resource: null, audience: 'github', requested_token_type: 'jwt' } });
  const claims = await scene.forward({ authorization: `Bearer ${await scene.subjectToken()}` });
  assert.equal(claims.aud, 'github');
  const [request] = scene.server.requests;
  assert.deepEqual([request?.resource, request?.audience], [[], ['github']]);
  assert.equal(request?.requestedTokenType, 'urn:ietf:params:oauth:token-type:jwt');
});

test('an actor token stands as act in what the backend gets', async (t) => {
  const claims = await exchangeOnce(t, {
    late: async (server) => ({ actor: await server.issueSubjectToken({ sub: 'agent-7', audience: server.issuer }) }),
    route: { actor_token: { file: 'actor' } },
  });
  assert.deepEqual(claims.act, { sub: 'agent-7' });
});

test('with client_credentials all callers share one token, and need none of their own', async (t) => {
  const scene = await startRealScene(t, { route: { credential: 'client_credentials' } });
  const own = await scene.subjectToken();
  for (const headers of [{}, { authorization: `Bearer ${own}` }, { 'mcp-session-id': 's-1' }]) {
    const { aud, sub } = await scene.forward(headers);
    assert.deepEqual([aud, sub], [RESOURCE, 'cambist']);
  }
  assert.deepEqual(
    scene.server.requests.map(({ grant }) => grant),
    ['client_credentials'],
  );
});

test('on_missing_subject lets a request without a caller pass on a token of our own, and a caller on theirs', async (t) => {
  const scene = await startRealScene(t, { route: { on_missing_subject: 'client_credentials' } });
  assert.equal((await scene.forward({})).sub, 'cambist');
  assert.equal((await scene.forward({ authorization: `Bearer ${await scene.subjectToken()}` })).sub, 'alice');
  const malformed = await call(`${scene.cambist.url}/r`, { method: 'POST', headers: { authorization: 'Bearer a b' } });
  assert.equal(malformed.status, 401, 'a bad token is not a missing one');
});

test('a subject token may come in another header, bare or as a bearer, and goes no further', async (t) => {
  const scene = await startRealScene(t, { route: { subject_token: { header: 'X-User-Token' } } });
  for (const prefix of ['', 'Bearer ', 'bearer ']) {
    const token = await scene.subjectToken();
    const claims = await scene.forward({ 'x-user-token': `${prefix}${token}`, authorization: 'Bearer of-the-agent' });
    assert.equal(claims.sub, 'alice');
    const received = scene.upstream.requests.at(-1)?.rawHeaders.join('\n') ?? '';
    assert.ok(!received.includes(token) && !received.includes('of-the-agent'));
  }
});

test('passthrough forwards what the caller sent, none forwards no token at all; neither asks anybody', async (t) => {
  for (const credential of ['passthrough', 'none']) {
    const scene = await startRealScene(t, { route: { credential, resource: null } });
    const authorization = `Bearer ${await scene.subjectToken()}`;
    const headers = { authorization, 'x-copy': authorization };
    assert.equal((await call(`${scene.cambist.url}/r`, { method: 'POST', headers })).status, 200);
    const [request] = scene.upstream.requests;
    assert.deepEqual(request?.authorization, credential === 'none' ? [] : [authorization]);
    assert.equal(request?.headers['x-copy'], credential === 'none' ? undefined : authorization);
    assert.deepEqual(scene.server.requests, []);
  }
});
