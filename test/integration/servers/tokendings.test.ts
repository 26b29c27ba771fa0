import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertionClient, one, wantExchange, wantSubjectType } from '../../harness/imitated-clients.ts';
import { type ImitationRules, issued, Refused } from '../../harness/imitation.ts';
import { assertProblem } from '../../harness/problem.ts';
import { startRecipe } from '../../harness/recipe.ts';

const BACKEND = 'prod:tools:github-mcp';

/** Tokendings: https://github.com/nais/tokendings */
const tokendings: ImitationRules = {
  tokenPath: '/token',
  async token(request, server) {
    const { form } = request;
    const { client, header } = await assertionClient(request, server, {
      audience: server.tokenEndpoint,
      algorithms: ['RS256'],
      maxLifeSeconds: 120,
    });
    if (client !== 'prod:agents:my-agent' || header.kid !== 'tokenx') throw new Refused(401, 'invalid_client');
    wantExchange(form);
    wantSubjectType(form, 'jwt');
    if (form.has('resource')) throw new Refused(400, 'invalid_request', 'unsupported parameter');
    const audience = one(form, 'audience');
    const subject = await server.read(form.get('subject_token'));
    if (subject === undefined) throw new Refused(400, 'invalid_request', 'token is invalid');
    if (audience !== BACKEND) throw new Refused(400, 'invalid_client', 'client is not authorized for the audience');
    return issued(await server.mint({ aud: audience, client_id: client }));
  },
};

test('the recipe for tokendings gets a token for the backend', async (t) => {
  const { server, call, received } = await startRecipe(t, 'tokendings', tokendings);
  assert.equal((await call(await server.mint({ aud: 'prod:agents:my-agent' }))).status, 200);
  assert.equal((received() as { aud: string }).aud, BACKEND);
});

test('tokendings refuses an assertion that lives too long or is for another, two audiences, and a bad token', async (t) => {
  const { server, call, change, config, upstream } = await startRecipe(t, 'tokendings', tokendings);
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  const token = await server.mint({ aud: 'prod:agents:my-agent' });
  const auth = config.authorization_servers.tokendings?.client_auth as object;
  change({}, { client_auth: { ...auth, assertion_lifetime: '3m' } });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({}, { client_auth: { ...auth, assertion_audience: 'https://elsewhere' } });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ audience: [BACKEND, 'prod:tools:docs-mcp'] });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ audience: 'prod:tools:closed' });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  assert.equal(upstream.requests.length, 0);
});
