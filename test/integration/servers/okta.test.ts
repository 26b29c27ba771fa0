import assert from 'node:assert/strict';
import { test } from 'node:test';
import { basicClient, one, wantExchange, wantSubjectType } from '../../harness/imitated-clients.ts';
import { type ImitationRules, issued, Refused } from '../../harness/imitation.ts';
import { assertProblem } from '../../harness/problem.ts';
import { startRecipe } from '../../harness/recipe.ts';

/** Okta: https://developer.okta.com/docs/guides/set-up-token-exchange/main/ */
const okta: ImitationRules = {
  tokenPath: '/oauth2/default/v1/token',
  async token(request, server) {
    const { form } = request;
    basicClient(request, server);
    wantExchange(form);
    wantSubjectType(form, 'access_token');
    if (form.has('resource')) throw new Refused(400, 'invalid_request', "The 'resource' parameter is not supported.");
    const audience = one(form, 'audience');
    const scope = one(form, 'scope');
    if (audience !== 'api://github-mcp') throw new Refused(400, 'invalid_target', 'The audience is not valid.');
    if (scope !== 'repo:read') throw new Refused(400, 'invalid_scope', 'One or more scopes are not configured.');
    if ((await server.read(form.get('subject_token'))) === undefined) {
      throw new Refused(400, 'invalid_grant', "'subject_token' is invalid.");
    }
    return issued(await server.mint({ aud: audience, scp: [scope] }), { scope });
  },
};

test('the recipe for Okta gets a token for the backend', async (t) => {
  const { server, call, received } = await startRecipe(t, 'okta', okta);
  assert.equal((await call(await server.mint({ aud: 'api://default' }))).status, 200);
  assert.equal((received() as { aud: string }).aud, 'api://github-mcp');
});

test('Okta refuses two audiences, none, a resource, another scope and a bad token', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'okta', okta);
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  const token = await server.mint({ aud: 'api://default' });
  change({ audience: ['api://github-mcp', 'api://docs-mcp'] });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ audience: undefined });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ audience: 'api://other' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  change({ scope: 'repo:write' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  assert.equal(upstream.requests.length, 0);
});
