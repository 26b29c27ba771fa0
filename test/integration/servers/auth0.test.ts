import assert from 'node:assert/strict';
import { test } from 'node:test';
import { one, postClient, wantExchange, wantSubjectType } from '../../harness/imitated-clients.ts';
import { type ImitationRules, issued, Refused } from '../../harness/imitation.ts';
import { assertProblem } from '../../harness/problem.ts';
import { startRecipe } from '../../harness/recipe.ts';

const API = 'https://github-mcp.example.com';

/** Auth0: https://auth0.com/docs/authenticate/custom-token-exchange */
const auth0: ImitationRules = {
  tokenPath: '/oauth/token',
  async token(request, server) {
    const { form } = request;
    postClient(request, server);
    wantExchange(form);
    wantSubjectType(form, 'urn:example:agent-token');
    if (form.has('requested_token_type')) {
      throw new Refused(400, 'invalid_request', 'requested_token_type is not allowed');
    }
    if (form.has('resource')) throw new Refused(400, 'invalid_request', 'resource is not allowed');
    if (one(form, 'audience') !== API) throw new Refused(403, 'access_denied', 'Service not found');
    if ((await server.read(form.get('subject_token'))) === undefined) {
      throw new Refused(400, 'invalid_request', 'Invalid subject token');
    }
    return issued(await server.mint({ aud: API }), { id_token: 'id-token-of-the-caller', scope: 'repo:read' });
  },
};

test('the recipe for Auth0 gets a token for the API', async (t) => {
  const { server, call, received } = await startRecipe(t, 'auth0', auth0);
  assert.ok(server.issuer.endsWith('/'));
  assert.equal((await call(await server.mint({ aud: 'agent' }))).status, 200);
  assert.equal((received() as { aud: string }).aud, API);
});

test('Auth0 refuses a type that it was not told of, a wish for a type, another API and a bad token', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'auth0', auth0);
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  const token = await server.mint({ aud: 'agent' });
  change({ subject_token: { type: 'access_token' } });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ requested_token_type: 'access_token' });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ audience: 'https://unknown.example.com' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  assert.equal(upstream.requests.length, 0);
});
