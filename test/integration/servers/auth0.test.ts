import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  authenticatePost,
  requireSubjectTokenType,
  requireTokenExchange,
  singleValue,
} from '../../harness/client-authentication.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { startRecipe } from '../../harness/recipe.ts';
import { issued, OAuthError, type SimulationRules } from '../../harness/simulated-server.ts';
import { testMisconfigurations } from './misconfigurations.ts';

const API = 'https://github-mcp.example.com';

/** Auth0: https://auth0.com/docs/authenticate/custom-token-exchange */
const auth0 = ({ exchange = true, grant = true } = {}): SimulationRules => ({
  tokenPath: '/oauth/token',
  async token(request, server) {
    const { form } = request;
    authenticatePost(request, server);
    requireTokenExchange(form);
    if (!exchange) {
      const description = `Grant type '${form.get('grant_type')}' not allowed for the client.`;
      throw new OAuthError(403, 'unauthorized_client', description);
    }
    requireSubjectTokenType(form, 'urn:example:agent-token');
    if (form.has('requested_token_type')) {
      throw new OAuthError(400, 'invalid_request', 'requested_token_type is not allowed');
    }
    if (form.has('resource')) throw new OAuthError(400, 'invalid_request', 'resource is not allowed');
    const audience = singleValue(form, 'audience');
    if (audience !== API) throw new OAuthError(403, 'access_denied', `Service not found: ${audience}`);
    if (!grant) throw new OAuthError(403, 'access_denied', `Client is not authorized to access "${audience}".`);
    if ((await server.read(form.get('subject_token'))) === undefined) {
      throw new OAuthError(400, 'invalid_request', 'Invalid subject token');
    }
    return issued(await server.mint({ aud: API }), { id_token: 'id-token-of-the-caller', scope: 'repo:read' });
  },
});

test('gets a token for the API from Auth0 with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'auth0', auth0());
  assert.ok(server.issuer.endsWith('/'));
  assert.equal((await call(await server.mint({ aud: 'agent' }))).status, 200);
  assert.equal((received() as { aud: string }).aud, API);
});

test('returns the refusals of Auth0 for an unknown type, a requested type, another API and an invalid token', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'auth0', auth0());
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

testMisconfigurations({ name: 'Auth0', recipe: 'auth0', rules: auth0(), claims: { aud: 'agent' } }, [
  {
    when: 'the issuer lacks its trailing slash',
    server: ({ server }) => ({ issuer: server.issuer.slice(0, -1) }),
    finding: 'issuer_mismatch',
    fix: /set authorization_servers\.auth0\.issuer to "http.*\/"/,
  },
  {
    when: 'custom token exchange is not allowed for the application',
    rules: auth0({ exchange: false }),
    finding: 'exchange_disabled',
    fix: /allow the client this grant/,
  },
  {
    when: 'the type of the token has no token exchange profile',
    route: { subject_token: { type: 'access_token' } },
    finding: 'subject_token_type_refused',
    fix: /custom URN of a token exchange profile \(Auth0\)/,
  },
  {
    when: 'a token type is requested',
    route: { requested_token_type: 'access_token' },
    finding: 'requested_token_type_refused',
    fix: /leave the route's requested_token_type out/,
  },
  {
    when: 'the audience is not an API',
    route: { audience: 'https://unknown.example.com' },
    finding: 'audience_unknown',
    fix: /an API with the identifier "https:\/\/unknown\.example\.com"/,
  },
  {
    when: 'the application is not authorized for the API',
    rules: auth0({ grant: false }),
    finding: 'target_not_permitted',
    fix: /authorize client "cambist-at-auth0" for the API/,
  },
]);
