import assert from 'node:assert/strict';
import { test } from 'node:test';
import { basicClient, one, wantExchange, wantSubjectType } from '../../harness/imitated-clients.ts';
import { type ImitationRules, issued, Refused } from '../../harness/imitation.ts';
import { assertProblem } from '../../harness/problem.ts';
import { startRecipe } from '../../harness/recipe.ts';

const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const BACKEND = '268000000000000002';

/** ZITADEL: https://zitadel.com/docs/guides/integrate/token-exchange */
const zitadel: ImitationRules = {
  tokenPath: '/oauth/v2/token',
  async token(request, server) {
    const { form } = request;
    basicClient(request, server);
    wantExchange(form);
    wantSubjectType(form, 'access_token', 'id_token', 'jwt');
    if (form.has('resource')) throw new Refused(400, 'invalid_target', 'resource parameter not supported');
    if ((await server.read(form.get('subject_token'))) === undefined) {
      throw new Refused(400, 'invalid_request', 'subject_token is invalid');
    }
    const audience = one(form, 'audience');
    if (audience !== BACKEND) throw new Refused(400, 'invalid_target', 'audience is not allowed');
    if (form.get('requested_token_type') !== JWT) return issued('opaque-token-of-zitadel');
    return issued(await server.mint({ aud: [audience] }), { issued_token_type: JWT });
  },
};

test('the recipe for ZITADEL gets a JWT for the backend', async (t) => {
  const { server, call, received } = await startRecipe(t, 'zitadel', zitadel);
  assert.equal((await call(await server.mint({ aud: 'agent' }))).status, 200);
  assert.deepEqual((received() as { aud: string[] }).aud, [BACKEND]);
});

test('without a wish for a JWT ZITADEL gives an opaque token, which goes upstream unchecked', async (t) => {
  const { app, config, server, call, received } = await startRecipe(t, 'zitadel', zitadel);
  app.reloadTo({ ...config, defaults: {} });
  assert.equal((await call(await server.mint({ aud: 'agent' }))).status, 200);
  assert.equal(received(), 'opaque-token-of-zitadel');
});

test('ZITADEL refuses any resource, an audience of nobody and a bad token', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'zitadel', zitadel);
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  const token = await server.mint({ aud: 'agent' });
  change({ resource: 'https://github-mcp.example.com/mcp' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  change({ audience: '1' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  assert.equal(upstream.requests.length, 0);
});
