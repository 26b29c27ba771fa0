import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  authenticateBasic,
  issued,
  OAuthError,
  requireSubjectTokenType,
  requireTokenExchange,
  type SimulationRules,
  singleValue,
  startRecipe,
} from '../../harness/recipe.ts';
import { foreignToken, testMisconfigurations } from './misconfigurations.ts';

const CLIENTS = ['cambist', 'github-mcp', 'docs-mcp', 'unmapped-mcp'];
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const MAPPED = ['github-mcp', 'docs-mcp'];

/** Keycloak 26: https://www.keycloak.org/securing-apps/token-exchange */
const keycloak: SimulationRules = {
  tokenPath: '/realms/agents/protocol/openid-connect/token',
  async token(request, server) {
    const { form } = request;
    const client = authenticateBasic(request, server);
    requireTokenExchange(form);
    if (client === 'off') {
      throw new OAuthError(400, 'invalid_request', 'Standard token exchange is not enabled for the requested client');
    }
    requireSubjectTokenType(form, 'access_token');
    const requested = form.get('requested_token_type') ?? ACCESS_TOKEN;
    if (requested !== ACCESS_TOKEN) throw new OAuthError(400, 'invalid_request', 'requested_token_type unsupported');
    const subject = await server.read(form.get('subject_token'));
    if (subject === undefined) throw new OAuthError(400, 'invalid_request', 'Invalid token');
    if (![subject.aud].flat().includes(client)) {
      throw new OAuthError(403, 'access_denied', 'Client is not within the token audience');
    }
    const wanted = form.getAll('audience');
    if (wanted.some((name) => !CLIENTS.includes(name)))
      throw new OAuthError(400, 'invalid_client', 'Audience not found');
    const missing = wanted.filter((name) => !MAPPED.includes(name));
    if (missing.length > 0) {
      throw new OAuthError(400, 'invalid_request', `Requested audience not available: ${missing.join(' ')}`);
    }
    // Keycloak ignores `resource`. Without an audience, the token has every audience that the mappers add.
    const aud = wanted.length === 0 ? MAPPED : wanted.length === 1 ? singleValue(form, 'audience') : wanted;
    return issued(await server.mint({ aud, azp: client }), {
      refresh_expires_in: 0,
      'not-before-policy': 0,
      scope: '',
    });
  },
};

test('gets a token for the called backend from Keycloak with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'keycloak', keycloak);
  const response = await call(await server.mint({ aud: ['agent', 'cambist'] }));
  assert.equal(response.status, 200);
  assert.deepEqual(received(), { ...(received() as object), aud: 'github-mcp', azp: 'cambist', sub: 'alice' });
});

testMisconfigurations(
  { name: 'Keycloak 26', recipe: 'keycloak', rules: keycloak, claims: { aud: ['agent', 'cambist'] } },
  [
    [
      'the client is not in the audience of the token',
      { token: { aud: 'agent' } },
      'subject_audience_lacks_client',
      /add "cambist" .*an audience mapper/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'the audience lacks a mapper',
      { route: { audience: 'unmapped-mcp' } },
      'audience_mapper_missing',
      /give client "cambist" an audience mapper .* for "unmapped-mcp"/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'the audience is not a client',
      { route: { audience: 'unknown' } },
      'audience_unknown',
      /client named "unknown"/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'the backend is named by resource',
      { route: { audience: undefined, resource: 'https://github-mcp.example.com/mcp' } },
      'audience_wrong',
      /ignores resource \(Keycloak\), set the route's audience/,
      'ERR_ISSUED_TOKEN_AUDIENCE',
    ],
    [
      'token exchange is disabled for the client',
      { server: { client_id: 'off' } },
      'exchange_disabled',
      /"Standard token exchange" on for client "off"/,
    ],
    [
      'a JWT is requested by its type',
      { route: { requested_token_type: 'jwt' } },
      'requested_token_type_refused',
      /leave the route's requested_token_type out/,
    ],
    [
      'the token has another host name of the realm as its issuer',
      { token: foreignToken({ aud: 'cambist' }) },
      'subject_issuer_differs',
      /hostname setting/,
    ],
  ],
);

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

testMisconfigurations(
  { name: 'Spring Authorization Server', recipe: 'spring', rules: spring(true), claims: { aud: 'agent' } },
  [
    [
      'no customizer puts the backend into the token',
      { rules: spring(false) },
      'token_for_client',
      /OAuth2TokenCustomizer/,
      'ERR_ISSUED_TOKEN_AUDIENCE',
    ],
    [
      'the client is registered without the grant',
      { rules: spring(true, false) },
      'exchange_disabled',
      /allow the client this grant/,
    ],
    [
      'the client lacks the scope',
      { route: { scope: 'repo:write' } },
      'scope_refused',
      /allow this client these scopes/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'the token comes from another server',
      { token: foreignToken({ aud: 'agent' }) },
      'subject_issuer_differs',
      /use a token of this server/,
    ],
  ],
);

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

testMisconfigurations({ name: 'PingFederate', recipe: 'pingfederate', rules: pingFederate, claims: { aud: 'agent' } }, [
  [
    'the policy requires an actor token',
    { defaults: {} },
    'actor_token_required',
    /actor_token\.file .*PingFederate: Actor Token Required/,
    'ERR_CLIENT_REFUSED',
  ],
  [
    'the type of the actor token has no processor',
    {
      defaults: ({ config }) => ({
        actor_token: { ...(config.defaults?.actor_token as object), type: 'access_token' },
      }),
    },
    'actor_token_refused',
    /actor_token\.type/,
  ],
  [
    'the resource has no access token manager',
    { route: { resource: 'https://other.example.com' } },
    'resource_refused',
    /PingFederate: among the resource URIs of its access token manager/,
    'ERR_EXCHANGE_REFUSED',
  ],
  [
    'the type of the subject token has no processor',
    { route: { subject_token: { type: 'id_token' } } },
    'subject_token_type_refused',
    /a processor policy maps \(PingFederate\)/,
  ],
]);
