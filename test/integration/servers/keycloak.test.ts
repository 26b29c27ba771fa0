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

test('returns the refusals of Keycloak for a token for another client, and for an invalid token', async (t) => {
  const { server, call, upstream } = await startRecipe(t, 'keycloak', keycloak);
  assertProblem(await call(await server.mint({ aud: 'agent' })), 'ERR_EXCHANGE_REFUSED');
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  assert.equal(upstream.requests.length, 0);
});

test('returns the refusals of Keycloak for an unknown audience, and for one without a mapper', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'keycloak', keycloak);
  const token = await server.mint({ aud: 'cambist' });
  for (const audience of ['unknown', 'unmapped-mcp']) {
    change({ audience });
    assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  }
  assert.equal(upstream.requests.length, 0);
});

test('refuses a token of Keycloak for every backend, which it issues for a resource alone', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'keycloak', keycloak);
  change({ audience: undefined, resource: 'https://github-mcp.example.com/mcp' });
  assertProblem(await call(await server.mint({ aud: 'cambist' })), 'ERR_ISSUED_TOKEN_AUDIENCE');
  assert.equal(upstream.requests.length, 0);
});

testMisconfigurations(
  { name: 'Keycloak 26', recipe: 'keycloak', rules: keycloak, claims: { aud: ['agent', 'cambist'] } },
  [
    {
      when: 'the client is not in the audience of the token',
      token: { aud: 'agent' },
      finding: 'subject_audience_lacks_client',
      fix: /add "cambist" .*an audience mapper/,
    },
    {
      when: 'the audience lacks a mapper',
      route: { audience: 'unmapped-mcp' },
      finding: 'audience_mapper_missing',
      fix: /give client "cambist" an audience mapper .* for "unmapped-mcp"/,
    },
    {
      when: 'the audience is not a client',
      route: { audience: 'unknown' },
      finding: 'audience_unknown',
      fix: /client named "unknown"/,
    },
    {
      when: 'the backend is named by resource',
      route: { audience: undefined, resource: 'https://github-mcp.example.com/mcp' },
      finding: 'audience_wrong',
      fix: /ignores resource \(Keycloak\), set the route's audience/,
    },
    {
      when: 'token exchange is disabled for the client',
      server: { client_id: 'off' },
      finding: 'exchange_disabled',
      fix: /"Standard token exchange" on for client "off"/,
    },
    {
      when: 'a JWT is requested by its type',
      route: { requested_token_type: 'jwt' },
      finding: 'requested_token_type_refused',
      fix: /leave the route's requested_token_type out/,
    },
    {
      when: 'the token has another host name of the realm as its issuer',
      token: foreignToken({ aud: 'cambist' }),
      finding: 'subject_issuer_differs',
      fix: /hostname setting/,
    },
  ],
);
