import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeJwt, type JWTPayload } from 'jose';
import { startTestApp } from '../../harness/app.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { call } from '../../harness/http-call.ts';
import {
  authenticateBasic,
  issued,
  OAuthError,
  RESOURCE,
  requireSubjectTokenType,
  requireTokenExchange,
  type SimulationRules,
  singleValue,
  startRecipe,
} from '../../harness/recipe.ts';
import { foreignToken, testProduct } from './product.ts';

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

testProduct(
  { name: 'Keycloak 26', recipe: 'keycloak', rules: keycloak },
  { aud: ['agent', 'cambist'] },
  { aud: 'github-mcp', azp: 'cambist', sub: 'alice' },
  [
    [
      'subject_audience_lacks_client',
      { token: { aud: 'agent' } },
      /add "cambist" .*an audience mapper/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'audience_mapper_missing',
      { route: { audience: 'unmapped-mcp' } },
      /give client "cambist" an audience mapper .* for "unmapped-mcp"/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'audience_unknown',
      { route: { audience: 'unknown' } },
      /client \(Keycloak\) .* named "unknown"/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'audience_wrong',
      { route: { audience: undefined, resource: RESOURCE } },
      /ignores resource \(Keycloak\), set the route's audience/,
      'ERR_ISSUED_TOKEN_AUDIENCE',
    ],
    ['exchange_disabled', { server: { client_id: 'off' } }, /"Standard token exchange" on for client "off"/],
    [
      'requested_token_type_refused',
      { route: { requested_token_type: 'jwt' } },
      /leave the route's requested_token_type out/,
    ],
    ['subject_issuer_differs', { token: foreignToken({ aud: 'cambist' }) }, /hostname setting/],
  ],
);

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

testProduct(
  { name: 'Spring Authorization Server', recipe: 'spring', rules: spring(true) },
  { aud: 'agent' },
  { aud: [RESOURCE] },
  [
    ['token_for_client', { rules: spring(false) }, /OAuth2TokenCustomizer/, 'ERR_ISSUED_TOKEN_AUDIENCE'],
    ['exchange_disabled', { rules: spring(true, false) }, /allow the client this grant/],
    ['scope_refused', { route: { scope: 'repo:write' } }, /allow this client these scopes/, 'ERR_EXCHANGE_REFUSED'],
    ['subject_issuer_differs', { token: foreignToken({ aud: 'agent' }) }, /use a token of this server/],
  ],
);

const isWorkload = (token: string): boolean => token === 'token-of-the-workload';

/**
 * PingFederate: https://docs.pingidentity.com/pingfederate/latest/ (token exchange grant type)
 * @param actorTokenType the type that the policy maps
 * @param isActor the processor of actor tokens
 */
const pingFederate = (actorTokenType = 'jwt', isActor = isWorkload): SimulationRules => ({
  tokenPath: '/as/token.oauth2',
  async token(request, server) {
    const { form } = request;
    const client = authenticateBasic(request, server);
    requireTokenExchange(form);
    requireSubjectTokenType(form, 'access_token', 'jwt', 'saml2');
    const actor = singleValue(form, 'actor_token');
    if (!isActor(actor)) {
      throw new OAuthError(400, 'invalid_request', 'The actor_token is not valid');
    }
    if (singleValue(form, 'actor_token_type') !== `urn:ietf:params:oauth:token-type:${actorTokenType}`) {
      throw new OAuthError(400, 'invalid_request', 'Unsupported actor_token_type');
    }
    const target = form.get('resource') ?? form.get('audience');
    if (target !== RESOURCE) throw new OAuthError(400, 'invalid_target', 'No access token manager matches');
    if ((await server.read(form.get('subject_token'))) === undefined) {
      throw new OAuthError(400, 'invalid_request', 'The subject token is not valid');
    }
    const act = { sub: isWorkload(actor) ? client : decodeJwt(actor).sub };
    return issued(await server.mint({ aud: target, act }));
  },
});

test('names the agent of a gateway to PingFederate, and no other', async (t) => {
  const cluster = await startFakeAuthorizationServer(t);
  const isAgent = (token: string): boolean => decodeJwt(token).iss === cluster.issuer;
  const { config, server, received } = await startRecipe(t, 'pingfederate', pingFederate('jwt', isAgent));
  const token = { header: 'x-agent-token', issuer: cluster.issuer, audience: 'cambist' };
  const known = { billing: { subject: 'billing' }, support: { subject: 'support' } };
  const defaults = { ...config.defaults, actor_token: { from: 'agent' } };
  const app = await startTestApp(t, { ...config, defaults, agents: { token, known } });
  const authorization = `Bearer ${await server.mint({ aud: 'agent' })}`;
  for (const subject of ['billing', 'support', 'billing']) {
    const headers = { authorization, 'x-agent-token': await cluster.mint({ subject }) };
    assert.equal((await call(`${app.url}/github`, { headers })).status, 200);
    assert.deepEqual((received() as JWTPayload).act, { sub: subject });
  }
});

const ofWorkload = { aud: RESOURCE, act: { sub: 'cambist' } };

testProduct({ name: 'PingFederate', recipe: 'pingfederate', rules: pingFederate() }, { aud: 'agent' }, ofWorkload, [
  [
    'actor_token_refused',
    { defaults: {} },
    /actor_token\.file .*PingFederate: Actor Token Required/,
    'ERR_CLIENT_REFUSED',
  ],
  ['actor_token_refused', { rules: pingFederate('access_token') }, /actor_token\.type/],
  [
    'resource_refused',
    { route: { resource: 'https://other.example.com' } },
    /PingFederate: among the resource URIs of its access token manager/,
    'ERR_EXCHANGE_REFUSED',
  ],
  [
    'subject_token_type_refused',
    { route: { subject_token: { type: 'id_token' } } },
    /a processor policy maps \(PingFederate\)/,
  ],
]);
