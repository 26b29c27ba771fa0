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
import { testMisconfigurations } from './misconfigurations.ts';

const RESOURCE = 'https://github-mcp.example.com/mcp';

/** PingFederate: https://docs.pingidentity.com/pingfederate/latest/ (token exchange grant type) */
const pingFederate: SimulationRules = {
  tokenPath: '/as/token.oauth2',
  async token(request, server) {
    const { form } = request;
    const client = authenticateBasic(request, server);
    requireTokenExchange(form);
    requireSubjectTokenType(form, 'access_token', 'jwt', 'saml2');
    if (singleValue(form, 'actor_token') !== 'token-of-the-workload') {
      throw new OAuthError(400, 'invalid_request', 'The actor_token is not valid');
    }
    if (singleValue(form, 'actor_token_type') !== 'urn:ietf:params:oauth:token-type:jwt') {
      throw new OAuthError(400, 'invalid_request', 'Unsupported actor_token_type');
    }
    const target = form.get('resource') ?? form.get('audience');
    if (target !== RESOURCE) throw new OAuthError(400, 'invalid_target', 'No access token manager matches');
    if ((await server.read(form.get('subject_token'))) === undefined) {
      throw new OAuthError(400, 'invalid_request', 'The subject token is not valid');
    }
    return issued(await server.mint({ aud: target, act: { sub: client } }));
  },
};

test('gets a token with the workload as actor from PingFederate with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'pingfederate', pingFederate);
  assert.equal((await call(await server.mint({ aud: 'agent' }))).status, 200);
  const { aud, act } = received() as { aud: string; act: unknown };
  assert.deepEqual({ aud, act }, { aud: RESOURCE, act: { sub: 'cambist' } });
});

test('returns the refusals of PingFederate for an unknown resource, a missing actor and an invalid token', async (t) => {
  const { app, config, server, call, change, upstream } = await startRecipe(t, 'pingfederate', pingFederate);
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  const token = await server.mint({ aud: 'agent' });
  change({ resource: 'https://other.example.com' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  app.reloadTo({ ...config, defaults: {} });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  assert.equal(upstream.requests.length, 0);
});

testMisconfigurations({ name: 'PingFederate', recipe: 'pingfederate', rules: pingFederate, claims: { aud: 'agent' } }, [
  {
    when: 'the policy requires an actor token',
    defaults: {},
    finding: 'actor_token_required',
    fix: /actor_token\.file .*PingFederate: Actor Token Required/,
  },
  {
    when: 'the type of the actor token has no processor',
    defaults: ({ config }) => ({ actor_token: { ...(config.defaults?.actor_token as object), type: 'access_token' } }),
    finding: 'actor_token_refused',
    fix: /actor_token\.type/,
  },
  {
    when: 'the resource has no access token manager',
    route: { resource: 'https://other.example.com' },
    finding: 'resource_refused',
    fix: /PingFederate: among the resource URIs of its access token manager/,
  },
  {
    when: 'the type of the subject token has no processor',
    route: { subject_token: { type: 'id_token' } },
    finding: 'subject_token_type_refused',
    fix: /a processor policy maps \(PingFederate\)/,
  },
]);
