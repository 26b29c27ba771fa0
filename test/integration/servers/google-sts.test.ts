import assert from 'node:assert/strict';
import { test } from 'node:test';
import { one, wantExchange, wantSubjectType } from '../../harness/imitated-clients.ts';
import { type ImitationRules, issued, Refused } from '../../harness/imitation.ts';
import { assertProblem } from '../../harness/problem.ts';
import { startRecipe } from '../../harness/recipe.ts';

const PROVIDER =
  /^\/\/iam\.googleapis\.com\/projects\/\d+\/locations\/global\/workloadIdentityPools\/[\w-]+\/providers\/[\w-]+$/;
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

/** Google STS: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token */
const google: ImitationRules = {
  tokenPath: '/v1/token',
  async token({ form, authorization }, server) {
    if (authorization !== undefined) throw new Refused(400, 'invalid_request', 'No Authorization header is expected');
    for (const name of ['client_id', 'resource']) {
      if (form.has(name)) throw new Refused(400, 'invalid_request', `Unknown parameter ${name}`);
    }
    wantExchange(form);
    wantSubjectType(form, 'jwt', 'id_token');
    if (one(form, 'requested_token_type') !== ACCESS_TOKEN) throw new Refused(400, 'invalid_request');
    if (!PROVIDER.test(one(form, 'audience')))
      throw new Refused(400, 'invalid_target', 'The target service is invalid');
    one(form, 'scope');
    JSON.parse(form.get('options') ?? '{}');
    const subject = await server.read(form.get('subject_token'));
    if (subject === undefined) throw new Refused(400, 'invalid_grant', 'The ID Token could not be verified');
    return issued('ya29.d.federated-token-of-google', { expires_in: 3599 });
  },
  metadata: () => ({ status: 404, body: '' }),
};

test('the recipe for Google gets a federated token, without any client', async (t) => {
  const { server, call, received } = await startRecipe(t, 'google-sts', google);
  assert.equal((await call(await server.mint({ aud: 'pool' }))).status, 200);
  assert.equal(received(), 'ya29.d.federated-token-of-google');
});

test('Google refuses a client, another type, and a bad token', async (t) => {
  const { app, config, server, call, change, upstream } = await startRecipe(t, 'google-sts', google);
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  const token = await server.mint({ aud: 'pool' });
  change({}, { client_id: 'cambist' });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ audience: 'pool' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  app.reloadTo({ ...config, defaults: { subject_token: { type: 'jwt' } } });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  assert.equal(upstream.requests.length, 0);
});
