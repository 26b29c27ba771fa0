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

/** authentik: https://docs.goauthentik.io/add-secure-apps/providers/oauth2/ */
const authentik = (exchange = true): SimulationRules => ({
  tokenPath: '/application/o/token/',
  async token(request, server) {
    const { form } = request;
    authenticateBasic(request, server);
    requireTokenExchange(form);
    if (!exchange) throw new OAuthError(400, 'unsupported_grant_type');
    requireSubjectTokenType(form, 'access_token', 'jwt');
    if (form.has('resource')) throw new OAuthError(400, 'invalid_target', 'The resource is not valid');
    if ((await server.read(form.get('subject_token'))) === undefined) throw new OAuthError(400, 'invalid_grant');
    const audience = singleValue(form, 'audience');
    if (audience !== 'github-mcp') throw new OAuthError(400, 'invalid_target', 'The audience is not valid');
    return issued(await server.mint({ aud: audience }), { expires_in: '300', id_token: 'id-token-of-the-caller' });
  },
  // authentik serves only OpenID metadata.
  metadata: (path) => (path.startsWith('/.well-known/') ? { status: 404, body: '<html></html>' } : undefined),
});

test('gets a token for the backend from authentik with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'authentik', authentik());
  assert.ok(server.issuer.endsWith('/application/o/cambist/'));
  assert.equal((await call(await server.mint({ aud: 'agent' }))).status, 200);
  assert.equal((received() as { aud: string }).aud, 'github-mcp');
});

test('returns the refusals of authentik for a resource, an unknown audience and an invalid token', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'authentik', authentik());
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  const token = await server.mint({ aud: 'agent' });
  change({ resource: 'https://github-mcp.example.com/mcp' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  change({ audience: 'unknown' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  assert.equal(upstream.requests.length, 0);
});

testMisconfigurations({ name: 'authentik', recipe: 'authentik', rules: authentik(), claims: { aud: 'agent' } }, [
  {
    when: 'the issuer lacks the path of its application',
    server: ({ server }) => ({ issuer: server.origin }),
    finding: 'metadata_not_found',
    fix: /check authorization_servers\.authentik\.issuer/,
  },
  {
    when: 'the provider lacks the grant',
    rules: authentik(false),
    finding: 'exchange_disabled',
    fix: /allow the client this grant/,
  },
  {
    when: 'a resource is sent',
    route: { resource: 'https://github-mcp.example.com/mcp' },
    finding: 'resource_refused',
    fix: /set resource: \[\]/,
  },
  {
    when: 'the audience is not a provider that trusts this one',
    route: { audience: 'unknown' },
    finding: 'target_refused',
    fix: /authentik: the client id of its provider/,
  },
  {
    when: 'the token comes from an untrusted provider',
    token: foreignToken({ aud: 'agent' }),
    finding: 'subject_issuer_differs',
    fix: /authentik: federated providers/,
  },
]);
