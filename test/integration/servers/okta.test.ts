import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  authenticateBasic,
  requireSubjectTokenType,
  requireTokenExchange,
  singleValue,
} from '../../harness/client-authentication.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { startRecipe } from '../../harness/recipe.ts';
import { issued, OAuthError, type SimulationRules } from '../../harness/simulated-server.ts';
import { foreignToken, testMisconfigurations } from './misconfigurations.ts';

/** Okta: https://developer.okta.com/docs/guides/set-up-token-exchange/main/ */
const okta = ({ grant = true, policy = true } = {}): SimulationRules => ({
  tokenPath: '/oauth2/default/v1/token',
  async token(request, server) {
    const { form } = request;
    authenticateBasic(request, server);
    requireTokenExchange(form);
    if (!grant) {
      const description = 'The client is not authorized to use the provided grant type.';
      throw new OAuthError(400, 'unauthorized_client', description);
    }
    requireSubjectTokenType(form, 'access_token');
    if (form.has('resource'))
      throw new OAuthError(400, 'invalid_request', "The 'resource' parameter is not supported.");
    const audience = singleValue(form, 'audience');
    const scope = form.get('scope');
    if (scope === null) {
      const description =
        "The authorization server resource does not have any configured default scopes, 'scope' must be provided.";
      throw new OAuthError(400, 'invalid_scope', description);
    }
    if (audience !== 'api://github-mcp') throw new OAuthError(400, 'invalid_target', 'The audience is not valid.');
    if (scope !== 'repo:read') throw new OAuthError(400, 'invalid_scope', 'One or more scopes are not configured.');
    if ((await server.read(form.get('subject_token'))) === undefined) {
      throw new OAuthError(400, 'invalid_grant', "'subject_token' is invalid.");
    }
    if (!policy) {
      const description = 'Policy evaluation failed for this request, please check the policy configurations.';
      throw new OAuthError(400, 'access_denied', description);
    }
    return issued(await server.mint({ aud: audience, scp: [scope] }), { scope });
  },
});

test('gets a token for the backend from Okta with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'okta', okta());
  assert.equal((await call(await server.mint({ aud: 'api://default' }))).status, 200);
  assert.equal((received() as { aud: string }).aud, 'api://github-mcp');
});

test('returns the refusals of Okta for wrong audiences, another scope and an invalid token', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'okta', okta());
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

testMisconfigurations({ name: 'Okta', recipe: 'okta', rules: okta(), claims: { aud: 'api://default' } }, [
  {
    when: 'the app lacks the grant',
    rules: okta({ grant: false }),
    finding: 'exchange_disabled',
    fix: /allow the client this grant/,
  },
  {
    when: 'no access policy allows the exchange',
    rules: okta({ policy: false }),
    finding: 'target_not_permitted',
    fix: /access policies, assign client "0oa1cambist" and add a rule with the grant Token Exchange/,
  },
  {
    when: 'the scope is missing',
    route: { scope: undefined },
    finding: 'scope_missing',
    fix: /set the route's scope/,
  },
  {
    when: 'the scope is unknown to the authorization server',
    route: { scope: 'repo:write' },
    finding: 'scope_refused',
    fix: /allow this client these scopes/,
  },
  {
    when: 'two audiences are requested',
    route: { audience: ['api://github-mcp', 'api://docs-mcp'] },
    finding: 'audience_count',
    fix: /audience to one name/,
  },
  {
    when: 'the audience is not that of the authorization server',
    route: { audience: 'api://other' },
    finding: 'target_refused',
    fix: /Okta: the audience of the authorization server/,
  },
  {
    when: 'the token comes from an untrusted authorization server',
    token: foreignToken({ aud: 'api://default' }),
    finding: 'subject_issuer_differs',
    fix: /Okta: trusted servers/,
  },
]);
