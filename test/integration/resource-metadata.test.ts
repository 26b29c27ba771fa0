import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  discoverOAuthProtectedResourceMetadata,
  extractWWWAuthenticateParams,
  selectResourceURL,
} from '@modelcontextprotocol/sdk/client/auth.js';
import { sendResponse, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { type GatewayOptions, startGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';

const WELL_KNOWN = '/.well-known/oauth-protected-resource';

/** A gateway whose authorization server is known by its issuer. */
async function startWithIssuer(t: TestContext, options: GatewayOptions = {}) {
  const authorizationServer = await startFakeAuthorizationServer(t);
  const { issuer } = authorizationServer;
  const local = { issuer, client_id: 'cambist', client_auth: { method: 'none' } };
  const gateway = await startGateway(t, { ...options, authorizationServer, top: { authorization_servers: { local } } });
  return { ...gateway, issuer };
}

test("lets the official client discover its authorization server from cambist's 401", async (t) => {
  const { app, issuer, upstream } = await startWithIssuer(t);
  const serverUrl = new URL(`${app.url}/github`);
  const refused = await fetch(serverUrl, { method: 'POST', body: '{}' });
  assert.equal(refused.status, 401);
  const { resourceMetadataUrl } = extractWWWAuthenticateParams(refused);
  assert.equal(resourceMetadataUrl?.href, `${app.url}${WELL_KNOWN}/github`);

  for (const options of [{ resourceMetadataUrl }, {}]) {
    const metadata = await discoverOAuthProtectedResourceMetadata(serverUrl, options as object);
    assert.deepEqual(metadata, {
      resource: `${app.url}/github`,
      authorization_servers: [issuer],
      bearer_methods_supported: ['header'],
    });
    const resource = await selectResourceURL(serverUrl, {} as never, metadata);
    assert.equal(resource?.href, `${app.url}/github`);
  }
  assert.equal(upstream.requests.length, 0);
});

test('returns the metadata without a token, and counts and logs the response for the route', async (t) => {
  const { app, issuer } = await startWithIssuer(t);
  const response = await call(`${app.url}${WELL_KNOWN}/github/x`, { headers: { 'x-request-id': 'ask-1' } });
  const { 'content-type': type, 'cache-control': caching, 'x-request-id': id } = response.headers;
  assert.deepEqual([response.status, type, caching, id], [200, 'application/json', 'no-store', 'ask-1']);
  assert.deepEqual(JSON.parse(response.text).authorization_servers, [issuer]);
  const labels = { route: 'github', method: 'GET', code: '200', outcome: 'responded' };
  assert.equal(await app.metric('cambist_requests_total', labels), 1);
  assert.ok(app.logs.some((line) => line.request_id === 'ask-1' && line.outcome === 'responded'));
  const head = await call(`${app.url}${WELL_KNOWN}/github`, { method: 'HEAD' });
  assert.deepEqual([head.status, head.text], [200, '']);
});

test('names the URL of the metadata in every 401', async (t) => {
  const { app, authorizationServer, authorization } = await startWithIssuer(t);
  const url = `${app.url}${WELL_KNOWN}/github/x`;
  const challenge = async (headers: Record<string, string | string[]>) =>
    (await call(`${app.url}/github/x?q`, { headers })).headers['www-authenticate'];
  assert.equal(await challenge({}), `Bearer resource_metadata="${url}"`);
  const expired = await authorizationServer.mint({ ttlSeconds: -600 });
  assert.equal(
    await challenge({ authorization: `Bearer ${expired}` }),
    `Bearer error="invalid_token", error_description="The access token expired", resource_metadata="${url}"`,
  );
  const body = { error: 'interaction_required', claims: '{}' };
  authorizationServer.behaviour = { kind: 'response', status: 400, body };
  assert.equal(
    await challenge({ authorization }),
    `Bearer error="insufficient_claims", claims="e30=", resource_metadata="${url}"`,
  );
});

test('returns 403 without a metadata document, and sends nothing upstream', async (t) => {
  const bare = await startGateway(t);
  assertProblem(await call(`${bare.app.url}${WELL_KNOWN}/github`), 'ERR_ROUTE_NOT_FOUND');
  const { headers } = await call(`${bare.app.url}/github`);
  assert.equal(headers['www-authenticate'], 'Bearer realm="cambist"');
  const { app, upstream } = await startWithIssuer(t);
  for (const path of [`${WELL_KNOWN}/other`, WELL_KNOWN, `${WELL_KNOWN}x/github`, `${WELL_KNOWN}/x/../github`]) {
    assertProblem(await call(app.url, { path }), 'ERR_ROUTE_NOT_FOUND');
  }
  const posted = await call(app.url, { path: `${WELL_KNOWN}/github`, method: 'POST' });
  assertProblem(posted, 'ERR_ROUTE_NOT_FOUND');
  assert.equal(upstream.requests.length, 0);
});

test('prefers a configured route for the path of the metadata', async (t) => {
  const { app, upstream, config } = await startWithIssuer(t);
  const match = { path: `${WELL_KNOWN}/github` };
  const own = { name: 'own', match, upstream: `${upstream.url}/doc`, credential: 'none' };
  app.reloadTo({ ...config, routes: [...config.routes, own] });
  assert.equal((await call(`${app.url}${WELL_KNOWN}/github`)).status, 200);
  assert.equal(upstream.requests[0]?.url, '/doc');
});

test("replaces the URL of the upstream's own metadata in a challenge on a route with exchanges", async (t) => {
  const theirs = 'Bearer error="insufficient_scope", scope="a", resource_metadata="https://upstream.example.com/x"';
  const handler: GatewayOptions['handler'] = async (request, response) => {
    await request.body();
    sendResponse(response, 403, 'no', { 'www-authenticate': [theirs, 'Bearer resource_metadata="broken'] });
  };
  const { app, authorization, config } = await startWithIssuer(t, { handler });
  const { headers } = await call(`${app.url}/github`, { headers: { authorization } });
  const ours = `Bearer error="insufficient_scope", scope="a", resource_metadata="${app.url}${WELL_KNOWN}/github"`;
  assert.equal(headers['www-authenticate'], ours);
  app.reloadTo({ ...config, routes: config.routes.map((route) => ({ ...route, credential: 'passthrough' })) });
  const passed = await call(`${app.url}/github`, { headers: { authorization } });
  assert.equal(passed.headers['www-authenticate'], `${theirs}, Bearer resource_metadata="broken`);
});

test("forwards GET and HEAD alone for the upstream's own metadata on routes without issued tokens", async (t) => {
  for (const credential of ['none', 'passthrough']) {
    const { app, upstream, authorization } = await startWithIssuer(t, {
      route: { credential, match: { path: '/github', methods: ['GET'] } },
    });
    upstream.handler = (_request, response) => sendResponse(response, 200, '{"resource":"theirs"}');
    const ask = (method: string) => call(`${app.url}${WELL_KNOWN}/github/x?q`, { method, headers: { authorization } });
    for (const method of ['DELETE', 'POST', 'PUT', 'PATCH', 'OPTIONS']) {
      assertProblem(await ask(method), 'ERR_ROUTE_NOT_FOUND');
    }
    assert.equal(upstream.requests.length, 0);
    assert.equal((await ask('GET')).text, '{"resource":"theirs"}');
    assert.equal((await ask('HEAD')).status, 200);
    assert.deepEqual(
      upstream.requests.map((request) => [request.method, request.url, request.authorization]),
      ['GET', 'HEAD'].map((method) => [method, `${WELL_KNOWN}/mcp/x?q`, credential === 'none' ? [] : [authorization]]),
    );
  }
});

test("forwards a request for an upstream's own metadata on the route that a GET would match", async (t) => {
  const { app, upstream, authorization, config } = await startWithIssuer(t);
  const route = (name: string, match: object, base: string) => {
    return { name, match, upstream: `${upstream.url}${base}`, credential: 'passthrough' };
  };
  const ask = (path: string) => call(app.url, { path: WELL_KNOWN + path, headers: { authorization } });
  const ending = route('ending', { path: '/github', methods: ['DELETE'] }, '/ending');
  const calling = route('calling', { path: '/github', mcp_method: 'tools/call' }, '/calling');
  const rest = route('rest', { path: '/' }, '/rest');

  app.reloadTo({ ...config, routes: [ending, calling] });
  for (const path of ['/github', '/github/x']) assertProblem(await ask(path), 'ERR_ROUTE_NOT_FOUND');
  app.reloadTo({ ...config, routes: [rest, route('github', { path: '/github' }, '/mcp')] });
  for (const path of ['//github', '/%67ithub/x', '/x;/github%2Fx/', '/github;x']) {
    const { status } = await call(app.url, { path, headers: { authorization } });
    const metadata = await ask(path);
    assert.equal(metadata.status === 403, status === 403, path);
  }
  assertProblem(await ask('//github'), 'ERR_ROUTE_NOT_FOUND');
  upstream.requests.length = 0;

  app.reloadTo({ ...config, routes: [ending, calling, rest] });
  assert.equal((await ask('/github/x')).status, 200);
  assert.deepEqual(
    upstream.requests.map(({ url }) => url),
    [`${WELL_KNOWN}/rest/github/x`],
  );
});

test('names the scopes that a caller needs in 401 responses and in the metadata', async (t) => {
  const { app, config } = await startWithIssuer(t);
  const route = (name: string, scope: string, match: object) => {
    return { ...config.routes[0], name, subject_token: { scope }, match };
  };
  app.reloadTo({
    ...config,
    routes: [
      route('github', ' openid  api://cambist/.default', { path: '/github' }),
      route('reading', 'openid read', { path: '/github', methods: ['GET'] }),
      route('docs', '', { path: '/docs' }),
    ],
  });
  const challenge = async (url: string, method: string) =>
    (await call(url, { method })).headers['www-authenticate']?.toString().replace(app.url, '');
  const metadata = `resource_metadata="${WELL_KNOWN}`;
  const scope = 'scope="openid api://cambist/.default"';
  assert.equal(await challenge(`${app.url}/github`, 'POST'), `Bearer ${scope}, ${metadata}/github"`);
  assert.equal(await challenge(`${app.url}/github`, 'GET'), `Bearer scope="openid read", ${metadata}/github"`);
  assert.equal(await challenge(`${app.url}/docs`, 'POST'), `Bearer ${metadata}/docs"`);
  const scopes = async (path: string) =>
    JSON.parse((await call(`${app.url}${WELL_KNOWN}${path}`)).text).scopes_supported;
  assert.deepEqual(await scopes('/github'), ['openid', 'read', 'api://cambist/.default']);
  assert.equal(await scopes('/docs'), undefined);
});
