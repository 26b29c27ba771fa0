import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  authenticateBasic,
  requireSubjectTokenType,
  requireTokenExchange,
} from '../../harness/client-authentication.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { startRecipe } from '../../harness/recipe.ts';
import { issued, OAuthError, type SimulationRules } from '../../harness/simulated-server.ts';
import { foreignToken, testMisconfigurations } from './misconfigurations.ts';

const RESOURCE = 'https://github-mcp.example.com/mcp';

/**
 * Spring Authorization Server: https://docs.spring.io/spring-authorization-server/reference/
 * @param customized whether a customizer puts the requested resources into the token
 * @param registered whether the client is registered with the grant
 */
const spring = (customized: boolean, registered = true): SimulationRules => ({
  tokenPath: '/oauth2/token',
  async token(request, server) {
    const { form } = request;
    const client = authenticateBasic(request, server);
    requireTokenExchange(form);
    if (!registered) throw new OAuthError(400, 'unauthorized_client');
    requireSubjectTokenType(form, 'access_token', 'jwt');
    const resources = form.getAll('resource');
    if (resources.some((uri) => !URL.canParse(uri) || uri.includes('#'))) throw new OAuthError(400, 'invalid_target');
    if ((form.get('scope') ?? '').split(' ').some((scope) => scope !== 'repo:read'))
      throw new OAuthError(400, 'invalid_scope');
    if ((await server.read(form.get('subject_token'))) === undefined) throw new OAuthError(400, 'invalid_grant');
    return issued(await server.mint({ aud: customized ? resources : client, scope: 'repo:read' }));
  },
});

test('gets a token for the backend from a customized Spring server with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'spring', spring(true));
  assert.equal((await call(await server.mint({ aud: 'agent' }))).status, 200);
  assert.deepEqual((received() as { aud: string[] }).aud, [RESOURCE]);
});

test('refuses the token of a Spring server without a customizer, because it is for cambist', async (t) => {
  const { server, call, upstream, app } = await startRecipe(t, 'spring', spring(false));
  assertProblem(await call(await server.mint({ aud: 'agent' })), 'ERR_ISSUED_TOKEN_AUDIENCE');
  assert.equal(upstream.requests.length, 0);
  assert.match(app.logText(), /its \\"aud\\" contains none of .*github-mcp/);
});

test('returns the refusals of Spring for a scope that the client lacks, and for an invalid token', async (t) => {
  const { server, call, change } = await startRecipe(t, 'spring', spring(true));
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  change({ scope: 'repo:write' });
  assertProblem(await call(await server.mint({ aud: 'agent' })), 'ERR_EXCHANGE_REFUSED');
});

testMisconfigurations(
  { name: 'Spring Authorization Server', recipe: 'spring', rules: spring(true), claims: { aud: 'agent' } },
  [
    {
      when: 'no customizer puts the backend into the token',
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
      when: 'the client lacks the scope',
      route: { scope: 'repo:write' },
      finding: 'scope_refused',
      fix: /allow this client these scopes/,
    },
    {
      when: 'the token comes from another server',
      token: foreignToken({ aud: 'agent' }),
      finding: 'subject_issuer_differs',
      fix: /use a token of this server/,
    },
  ],
);
