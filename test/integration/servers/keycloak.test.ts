import assert from 'node:assert/strict';
import { test } from 'node:test';
import { basicClient, one, wantExchange, wantSubjectType } from '../../harness/imitated-clients.ts';
import { type ImitationRules, issued, Refused } from '../../harness/imitation.ts';
import { assertProblem } from '../../harness/problem.ts';
import { startRecipe } from '../../harness/recipe.ts';

const CLIENTS = ['cambist', 'github-mcp', 'docs-mcp', 'unmapped-mcp'];
const MAPPED = ['github-mcp', 'docs-mcp'];

/** Keycloak 26: https://www.keycloak.org/securing-apps/token-exchange */
const keycloak: ImitationRules = {
  tokenPath: '/realms/agents/protocol/openid-connect/token',
  async token(request, server) {
    const { form } = request;
    const client = basicClient(request, server);
    wantExchange(form);
    wantSubjectType(form, 'access_token');
    const subject = await server.read(form.get('subject_token'));
    if (subject === undefined) throw new Refused(400, 'invalid_request', 'Invalid token');
    if (![subject.aud].flat().includes(client)) {
      throw new Refused(403, 'access_denied', 'Client is not within the token audience');
    }
    const wanted = form.getAll('audience');
    if (wanted.some((name) => !CLIENTS.includes(name))) throw new Refused(400, 'invalid_client', 'Audience not found');
    const missing = wanted.filter((name) => !MAPPED.includes(name));
    if (missing.length > 0) {
      throw new Refused(400, 'invalid_request', `Requested audience not available: ${missing.join(' ')}`);
    }
    // `resource` is not known to it; without an audience all that the mappers add is in.
    const aud = wanted.length === 0 ? MAPPED : wanted.length === 1 ? one(form, 'audience') : wanted;
    return issued(await server.mint({ aud, azp: client }), {
      refresh_expires_in: 0,
      'not-before-policy': 0,
      scope: '',
    });
  },
};

test('the recipe for Keycloak gets a token for the backend that was called', async (t) => {
  const { server, call, received } = await startRecipe(t, 'keycloak', keycloak);
  const answered = await call(await server.mint({ aud: ['agent', 'cambist'] }));
  assert.equal(answered.status, 200);
  assert.deepEqual(received(), { ...(received() as object), aud: 'github-mcp', azp: 'cambist', sub: 'alice' });
});

test('Keycloak refuses a token that was not for cambist, and a token that has been made up', async (t) => {
  const { server, call, upstream } = await startRecipe(t, 'keycloak', keycloak);
  assertProblem(await call(await server.mint({ aud: 'agent' })), 'ERR_EXCHANGE_REFUSED');
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  assert.equal(upstream.requests.length, 0);
});

test('Keycloak refuses an audience that it does not know, or that no mapper adds', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'keycloak', keycloak);
  const token = await server.mint({ aud: 'cambist' });
  for (const audience of ['nobody', 'unmapped-mcp']) {
    change({ audience });
    assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  }
  assert.equal(upstream.requests.length, 0);
});

test('with resource alone Keycloak names every backend, and none of them is let have that', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'keycloak', keycloak);
  change({ audience: undefined, resource: 'https://github-mcp.example.com/mcp' });
  assertProblem(await call(await server.mint({ aud: 'cambist' })), 'ERR_ISSUED_TOKEN_AUDIENCE');
  assert.equal(upstream.requests.length, 0);
});
