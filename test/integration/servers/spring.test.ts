import assert from 'node:assert/strict';
import { test } from 'node:test';
import { basicClient, wantExchange, wantSubjectType } from '../../harness/imitated-clients.ts';
import { type ImitationRules, issued, Refused } from '../../harness/imitation.ts';
import { assertProblem } from '../../harness/problem.ts';
import { startRecipe } from '../../harness/recipe.ts';
import { foreignToken, testMisconfigurations } from './misconfigurations.ts';

const RESOURCE = 'https://github-mcp.example.com/mcp';

/**
 * Spring Authorization Server: https://docs.spring.io/spring-authorization-server/reference/
 * @param customised has it been told to hold the token to what was asked for?
 * @param registered has the client the grant?
 */
const spring = (customised: boolean, registered = true): ImitationRules => ({
  tokenPath: '/oauth2/token',
  async token(request, server) {
    const { form } = request;
    const client = basicClient(request, server);
    wantExchange(form);
    if (!registered) throw new Refused(400, 'unauthorized_client');
    wantSubjectType(form, 'access_token', 'jwt');
    const resources = form.getAll('resource');
    if (resources.some((uri) => !URL.canParse(uri) || uri.includes('#'))) throw new Refused(400, 'invalid_target');
    if ((form.get('scope') ?? '').split(' ').some((scope) => scope !== 'repo:read'))
      throw new Refused(400, 'invalid_scope');
    if ((await server.read(form.get('subject_token'))) === undefined) throw new Refused(400, 'invalid_grant');
    return issued(await server.mint({ aud: customised ? resources : client, scope: 'repo:read' }));
  },
});

test('the recipe for Spring gets a token for the backend from a server that has been told to', async (t) => {
  const { server, call, received } = await startRecipe(t, 'spring', spring(true));
  assert.equal((await call(await server.mint({ aud: 'agent' }))).status, 200);
  assert.deepEqual((received() as { aud: string[] }).aud, [RESOURCE]);
});

test('what Spring issues by itself is for cambist, and reaches no backend', async (t) => {
  const { server, call, upstream, app } = await startRecipe(t, 'spring', spring(false));
  assertProblem(await call(await server.mint({ aud: 'agent' })), 'ERR_ISSUED_TOKEN_AUDIENCE');
  assert.equal(upstream.requests.length, 0);
  assert.match(app.logText(), /its \\"aud\\" contains none of .*github-mcp/);
});

test('Spring refuses a scope that the client has not, and a bad token', async (t) => {
  const { server, call, change } = await startRecipe(t, 'spring', spring(true));
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  change({ scope: 'repo:write' });
  assertProblem(await call(await server.mint({ aud: 'agent' })), 'ERR_EXCHANGE_REFUSED');
});

testMisconfigurations(
  { name: 'Spring Authorization Server', recipe: 'spring', rules: spring(true), claims: { aud: 'agent' } },
  [
    {
      when: 'nothing puts the backend into the token',
      rules: spring(false),
      finding: 'token_for_client',
      fix: /OAuth2TokenCustomizer/,
    },
    {
      when: 'the client is registered without the grant',
      rules: spring(true, false),
      finding: 'exchange_disabled',
      fix: /allow the client this grant/,
    },
    {
      when: 'the client has not the scope',
      route: { scope: 'repo:write' },
      finding: 'scope_refused',
      fix: /allow this client these scopes/,
    },
    {
      when: 'the token is of another server',
      token: foreignToken({ aud: 'agent' }),
      finding: 'subject_issuer_differs',
      fix: /use a token of this server/,
    },
  ],
);
