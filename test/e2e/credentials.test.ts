import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose';
import {
  type ClientRegistration,
  type RunningAuthorizationServer,
  startAuthorizationServer,
} from '../harness/authorization-server.ts';
import { type CambistProcess, startCambist } from '../harness/cambist-process.ts';
import { type FakeUpstream, respond, startFakeUpstream } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';

const SECRET = 'a-client-secret-of-32-characters';
const RESOURCE = 'https://github.example.com/mcp';
const OTHER = 'https://docs.example.com/mcp';
const BASIC = { method: 'client_secret_basic', client_secret: { file: 'secret' } };

interface VerifiedScene {
  server: RunningAuthorizationServer;
  cambist: CambistProcess;
  upstream: FakeUpstream;
  /** A caller's token that `client` may exchange. */
  subjectToken(sub?: string): Promise<string>;
  /** Sends a request that must be forwarded. @returns the verified claims of the token that the upstream received */
  forward(headers: Record<string, string>): Promise<JWTPayload>;
}

interface VerifiedSceneOptions {
  clientId?: string;
  client?: ClientRegistration;
  auth?: Record<string, unknown>;
  files?: Record<string, string>;
  /** Files that depend on the running authorization server. They are written before cambist starts. */
  late?: (server: RunningAuthorizationServer) => Promise<Record<string, string>>;
  route?: Record<string, unknown>;
}

/** cambist with an authorization server that verifies every request. */
async function startVerifiedScene(t: TestContext, options: VerifiedSceneOptions = {}): Promise<VerifiedScene> {
  const { clientId = 'cambist', client = { method: 'client_secret_basic', secret: SECRET }, auth = BASIC } = options;
  const server = await startAuthorizationServer({
    clients: { [clientId]: client },
    resources: {
      [RESOURCE]: { scopes: ['repo:read', 'issues:read'], audience: 'github' },
      [OTHER]: { scopes: ['docs:read'], audience: 'docs' },
    },
  });
  t.after(server.close);
  const upstream = await startFakeUpstream(t, respond(200, 'fine'));
  const route = { name: 'r', match: { path: '/r' }, upstream: upstream.url, resource: RESOURCE, ...options.route };
  const cambist = await startCambist(t, {
    config: {
      authorization_servers: { real: { issuer: server.issuer, client_id: clientId, client_auth: auth } },
      routes: [Object.fromEntries(Object.entries(route).filter(([, value]) => value !== null))],
    },
    files: { secret: SECRET, ...options.files, ...(await options.late?.(server)) },
  });
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

async function exchangeOnce(t: TestContext, options: VerifiedSceneOptions): Promise<JWTPayload> {
  const scene = await startVerifiedScene(t, options);
  const claims = await scene.forward({ authorization: `Bearer ${await scene.subjectToken()}` });
  assert.deepEqual(
    scene.server.requests.map(({ client, error }) => [client, error]),
    [[options.clientId ?? 'cambist', undefined]],
  );
  assert.equal(claims.sub, 'alice');
  return claims;
}

test('authenticates with client_secret_basic, also with special characters in id and secret', async (t) => {
  for (const [clientId, secret] of [
    ['cambist', SECRET],
    ['cambist:agents/1+2 3', 'p@ss:w0rd%20 &+=/?"~-_.!*()'],
  ] as const) {
    const client = { method: 'client_secret_basic', secret } as const;
    assert.equal((await exchangeOnce(t, { clientId, client, files: { secret } })).aud, RESOURCE);
  }
});

test('authenticates with client_secret_post, with special characters and a line end in the secret file', async (t) => {
  const secret = 'p@ss:w0rd%20 &+=/?"~';
  const auth = { method: 'client_secret_post', client_secret: { file: 'secret' } };
  const client = { method: 'client_secret_post', secret } as const;
  assert.equal((await exchangeOnce(t, { client, auth, files: { secret: `${secret}\n` } })).aud, RESOURCE);
});

test('sends only the client id of a public client', async (t) => {
  const claims = await exchangeOnce(t, { client: { method: 'none' }, auth: { method: 'none' } });
  assert.equal(claims.client_id, 'cambist');
});

test('requests several resources, and a subset of the available scopes', async (t) => {
  const { aud, scope } = await exchangeOnce(t, {
    route: { resource: [RESOURCE, OTHER], scope: 'docs:read repo:read' },
  });
  assert.deepEqual(aud, [RESOURCE, OTHER]);
  assert.equal(scope, 'docs:read repo:read');
});

test('requests a token by audience alone', async (t) => {
  const scene = await startVerifiedScene(t, {
    route: { resource: null, audience: 'github', requested_token_type: 'jwt' },
  });
  const claims = await scene.forward({ authorization: `Bearer ${await scene.subjectToken()}` });
  assert.equal(claims.aud, 'github');
  const [request] = scene.server.requests;
  assert.deepEqual([request?.resource, request?.audience], [[], ['github']]);
  assert.equal(request?.requestedTokenType, 'urn:ietf:params:oauth:token-type:jwt');
});

test('sends the actor token, so that the issued token has an act claim', async (t) => {
  const claims = await exchangeOnce(t, {
    late: async (server) => ({ actor: await server.issueSubjectToken({ sub: 'agent-7', audience: server.issuer }) }),
    route: { actor_token: { file: 'actor' } },
  });
  assert.deepEqual(claims.act, { sub: 'agent-7' });
});

test('shares one token among all callers with client_credentials, also callers without a token', async (t) => {
  const scene = await startVerifiedScene(t, { route: { credential: 'client_credentials' } });
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

test('uses client credentials only for requests without a token with on_missing_subject', async (t) => {
  const scene = await startVerifiedScene(t, { route: { on_missing_subject: 'client_credentials' } });
  assert.equal((await scene.forward({})).sub, 'cambist');
  assert.equal((await scene.forward({ authorization: `Bearer ${await scene.subjectToken()}` })).sub, 'alice');
  const malformed = await call(`${scene.cambist.url}/r`, { method: 'POST', headers: { authorization: 'Bearer a b' } });
  assert.equal(malformed.status, 401, 'a malformed token is not a missing one');
});
