import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import type { UpstreamHandler } from '../harness/fake-upstream.ts';
import { respond } from '../harness/upstream-handlers.ts';
import { publicServer, route, runDoctor, runOnProtected, startEcho } from './doctor-run.ts';

const METADATA = '/.well-known/oauth-protected-resource/mcp';

/** A backend with protected resource metadata at this path. */
function protectedBy(path: string, metadata: (origin: string) => unknown, challenge = 'Bearer'): UpstreamHandler {
  return (request, response) => {
    const origin = `http://${request.headers.host}`;
    if (request.url === path) return respond(200, metadata(origin))(request, response);
    const headers = { 'www-authenticate': challenge.replace('ORIGIN', origin) };
    return respond(request.method === 'POST' ? 401 : 404, '', headers)(request, response);
  };
}

test('compares the resource and the authorization server with the metadata of the backend', async (t) => {
  let issuers: string[] = [];
  const keys = { audience: undefined };
  const handler = protectedBy(METADATA, (origin) => ({ resource: `${origin}/mcp`, authorization_servers: issuers }));
  const unlisted = await runOnProtected(t, handler, keys);
  assert.deepEqual(unlisted.found, ['ok backend_reached', 'ok resource_matches']);
  issuers = ['https://other.example.com'];
  const { found, finding, server } = await runOnProtected(t, handler, keys);
  assert.deepEqual(found, ['ok backend_reached', 'ok resource_matches', 'error backend_issuer_differs']);
  const { what } = finding('backend_issuer_differs');
  assert.ok(what.includes('"https://other.example.com"') && what.includes(`"${server.issuer}"`));
});

test('accepts an authorization server that differs in the trailing slash', async (t) => {
  const server = await startFakeAuthorizationServer();
  t.after(server.close);
  const upstream = await startEcho(t);
  const servers = [`${server.issuer}/`];
  upstream.handler = protectedBy(METADATA, (origin) => ({ resource: `${origin}/mcp`, authorization_servers: servers }));
  const written = {
    authorization_servers: { main: publicServer(server.issuer) },
    routes: [route('github', { upstream: `${upstream.url}/mcp`, audience: undefined })],
  };
  const { finding } = await runDoctor(t, written);
  assert.equal(finding('backend_issuer_matches').severity, 'ok');
});

test('reports a resource that differs from the metadata, and names a trailing slash', async (t) => {
  const other = { resource: 'https://docs.example.com/mcp' };
  const keys = { audience: undefined, resource: 'https://docs.example.com/mcp/' };
  const slash = await runOnProtected(
    t,
    protectedBy(METADATA, () => other),
    keys,
  );
  assert.deepEqual(slash.found, ['ok backend_reached', 'error resource_differs']);
  assert.match(slash.finding('resource_differs').why ?? '', /trailing slash/);
  const byUpstream = await runOnProtected(
    t,
    protectedBy(METADATA, () => other),
    { audience: undefined },
  );
  const { what, fix } = byUpstream.finding('resource_differs');
  assert.ok(what.includes('"https://docs.example.com/mcp"') && what.includes(`"${byUpstream.upstream.url}/mcp"`));
  assert.equal(fix, 'set routes.github.resource to "https://docs.example.com/mcp"');
});

test('only notes the resource of a backend that the route names by audience', async (t) => {
  const handler = protectedBy(METADATA, () => ({ resource: 'https://docs.example.com/mcp' }));
  const { found, finding } = await runOnProtected(t, handler);
  assert.deepEqual(found, ['ok backend_reached', 'ok resource_not_requested']);
  assert.match(finding('resource_not_requested').what, /the route requests none/);
});

test('reads the metadata at the path that the challenge names, but from the backend only', async (t) => {
  const stranger = await startEcho(t);
  const challenge = `Bearer resource_metadata="${stranger.url}/custom/metadata?of=mcp"`;
  const handler = protectedBy('/custom/metadata?of=mcp', (origin) => ({ resource: `${origin}/mcp` }), challenge);
  const { found } = await runOnProtected(t, handler, { audience: undefined });
  assert.deepEqual(found, ['ok backend_reached', 'ok resource_matches']);
  assert.deepEqual(stranger.requests, []);
});

test('ignores metadata that is malformed', async (t) => {
  for (const body of ['<html></html>', '[]', '{"resource": 7}']) {
    const { found } = await runOnProtected(
      t,
      protectedBy(METADATA, () => body),
      { audience: undefined },
    );
    assert.deepEqual(found, ['ok backend_reached']);
  }
});
