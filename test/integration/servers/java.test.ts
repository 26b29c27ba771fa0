import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeJwt, type JWTPayload } from 'jose';
import { startTestApp } from '../../harness/app.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { call } from '../../harness/http-call.ts';
import {
  authenticateBasic,
  issued,
  RESOURCE,
  refuseUnless,
  requireSubject,
  requireSubjectTokenType,
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
    const disabled = 'Standard token exchange is not enabled for the requested client';
    refuseUnless(client !== 'off', 'invalid_request', disabled);
    requireSubjectTokenType(form, 'access_token');
    const requested = form.get('requested_token_type') ?? ACCESS_TOKEN;
    refuseUnless(requested === ACCESS_TOKEN, 'invalid_request', 'requested_token_type unsupported');
    const subject = await requireSubject(form, server, 'invalid_request', 'Invalid token');
    const isFor = [subject.aud].flat().includes(client);
    refuseUnless(isFor, 'access_denied', 'Client is not within the token audience', 403);
    const wanted = form.getAll('audience');
    const areKnown = wanted.every((name) => CLIENTS.includes(name));
    refuseUnless(areKnown, 'invalid_client', 'Audience not found');
    const missing = wanted.filter((name) => !MAPPED.includes(name));
    refuseUnless(missing.length === 0, 'invalid_request', `Requested audience not available: ${missing.join(' ')}`);
    // Keycloak ignores `resource`. Without an audience, the token has every audience that the mappers add.
    const aud = wanted.length === 0 ? MAPPED : wanted.length === 1 ? singleValue(form, 'audience') : wanted;
    const more = { refresh_expires_in: 0, 'not-before-policy': 0, scope: '' };
    return issued(await server.mint({ aud, azp: client }), more);
  },
};

const byKeycloak = { aud: 'github-mcp', azp: 'cambist', sub: 'alice' };
const ofKeycloak = { recipe: 'keycloak', rules: keycloak, claims: { aud: ['agent', 'cambist'] }, received: byKeycloak };

testProduct(ofKeycloak, 'Keycloak 26', {
  ERR_EXCHANGE_REFUSED: [
    ['subject_audience_lacks_client', { token: { aud: 'agent' } }, /add "cambist" .*an audience mapper/],
    [
      'audience_mapper_missing',
      { route: { audience: 'unmapped-mcp' } },
      /give client "cambist" an audience mapper .* for "unmapped-mcp"/,
    ],
    ['audience_unknown', { route: { audience: 'unknown' } }, /client \(Keycloak\) .* named "unknown"/],
  ],
  ERR_ISSUED_TOKEN_AUDIENCE: [
    [
      'audience_wrong',
      { route: { audience: undefined, resource: RESOURCE } },
      /ignores resource \(Keycloak\), set the route's audience/,
    ],
  ],
  doctor: [
    ['exchange_disabled', { server: { client_id: 'off' } }, /"Standard token exchange" on for client "off"/],
    [
      'requested_token_type_refused',
      { route: { requested_token_type: 'jwt' } },
      /leave the route's requested_token_type out/,
    ],
    ['subject_issuer_differs', { token: foreignToken({ aud: 'cambist' }) }, /hostname setting/],
  ],
});

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
    refuseUnless(registered, 'unauthorized_client');
    requireSubjectTokenType(form, 'access_token', 'jwt');
    const resources = form.getAll('resource');
    const areUris = resources.every((uri) => URL.canParse(uri) && !uri.includes('#'));
    refuseUnless(areUris, 'invalid_target');
    refuseUnless(form.get('scope') === 'repo:read', 'invalid_scope');
    await requireSubject(form, server, 'invalid_grant');
    return issued(await server.mint({ aud: customized ? resources : client, scope: 'repo:read' }));
  },
});

const ofSpring = { recipe: 'spring', rules: spring(true), claims: { aud: 'agent' }, received: { aud: [RESOURCE] } };

testProduct(ofSpring, 'Spring Authorization Server', {
  ERR_ISSUED_TOKEN_AUDIENCE: [['token_for_client', { rules: spring(false) }, /OAuth2TokenCustomizer/]],
  ERR_EXCHANGE_REFUSED: [['scope_refused', { route: { scope: 'repo:write' } }, /allow this client these scopes/]],
  doctor: [
    ['exchange_disabled', { rules: spring(true, false) }, /allow the client this grant/],
    ['subject_issuer_differs', { token: foreignToken({ aud: 'agent' }) }, /use a token of this server/],
  ],
});

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
    requireSubjectTokenType(form, 'access_token', 'jwt', 'saml2');
    const actor = singleValue(form, 'actor_token');
    refuseUnless(isActor(actor), 'invalid_request', 'The actor_token is not valid');
    const type = singleValue(form, 'actor_token_type');
    const isMapped = type === `urn:ietf:params:oauth:token-type:${actorTokenType}`;
    refuseUnless(isMapped, 'invalid_request', 'Unsupported actor_token_type');
    const target = form.get('resource') ?? form.get('audience');
    refuseUnless(target === RESOURCE, 'invalid_target', 'No access token manager matches');
    await requireSubject(form, server, 'invalid_request', 'The subject token is not valid');
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
const ofPing = { recipe: 'pingfederate', rules: pingFederate(), claims: { aud: 'agent' }, received: ofWorkload };

testProduct(ofPing, 'PingFederate', {
  ERR_CLIENT_REFUSED: [
    ['actor_token_refused', { defaults: {} }, /actor_token\.file .*PingFederate: Actor Token Required/],
  ],
  ERR_EXCHANGE_REFUSED: [
    [
      'resource_refused',
      { route: { resource: 'https://other.example.com' } },
      /PingFederate: among the resource URIs of its access token manager/,
    ],
  ],
  doctor: [
    ['actor_token_refused', { rules: pingFederate('access_token') }, /actor_token\.type/],
    [
      'subject_token_type_refused',
      { route: { subject_token: { type: 'id_token' } } },
      /a processor policy maps \(PingFederate\)/,
    ],
  ],
});
