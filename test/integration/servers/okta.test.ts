import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeProtectedHeader } from 'jose';
import { eventually } from '../../harness/eventually.ts';
import {
  authenticateAssertion,
  authenticateBasic,
  issued,
  OAuthError,
  RESOURCE,
  refuseUnless,
  requireSubject,
  requireSubjectTokenType,
  requireTokenExchange,
  type SimulatedRequest,
  type SimulatedServer,
  type SimulationRules,
  singleValue,
  startRecipe,
} from '../../harness/recipe.ts';
import { foreignToken, testProduct } from './product.ts';

/** Okta: https://developer.okta.com/docs/guides/set-up-token-exchange/main/ */
const okta = ({ grant = true, policy = true } = {}): SimulationRules => ({
  tokenPath: '/oauth2/default/v1/token',
  async token(request, server) {
    const { form } = request;
    authenticateBasic(request, server);
    const disabled = 'The client is not authorized to use the provided grant type.';
    refuseUnless(grant, 'unauthorized_client', disabled);
    requireSubjectTokenType(form, 'access_token');
    refuseUnless(!form.has('resource'), 'invalid_request', "The 'resource' parameter is not supported.");
    const audience = singleValue(form, 'audience');
    const scope = form.get('scope');
    const missing =
      "The authorization server resource does not have any configured default scopes, 'scope' must be provided.";
    refuseUnless(scope !== null, 'invalid_scope', missing);
    refuseUnless(audience === 'api://github-mcp', 'invalid_target', 'The audience is not valid.');
    refuseUnless(scope === 'repo:read', 'invalid_scope', 'One or more scopes are not configured.');
    await requireSubject(form, server, 'invalid_grant', "'subject_token' is invalid.");
    const denied = 'Policy evaluation failed for this request, please check the policy configurations.';
    refuseUnless(policy, 'access_denied', denied);
    return issued(await server.mint({ aud: audience, scp: [scope] }), { scope });
  },
});

const ofOkta = { rules: okta(), claims: { aud: 'api://default' }, received: { aud: 'api://github-mcp' } };

testProduct({ recipe: 'okta', ...ofOkta }, 'Okta', {
  ERR_CLIENT_REFUSED: [
    [
      'target_refused',
      { route: { audience: ['api://github-mcp', 'api://docs-mcp'] } },
      /the server's one name of the backend/,
    ],
  ],
  ERR_EXCHANGE_REFUSED: [
    ['scope_refused', { route: { scope: 'repo:write' } }, /allow this client these scopes/],
    ['target_refused', { route: { audience: 'api://other' } }, /Okta: the audience of the authorization server/],
  ],
  doctor: [
    ['exchange_disabled', { rules: okta({ grant: false }) }, /allow the client this grant/],
    [
      'target_not_permitted',
      { rules: okta({ policy: false }) },
      /allow it for client "0oa1cambist" \(Okta: an access policy with a rule/,
    ],
    ['scope_missing', { route: { scope: undefined } }, /set the route's scope/],
    ['subject_issuer_differs', { token: foreignToken({ aud: 'api://default' }) }, /Okta: trusted servers/],
  ],
});

const AGENT = 'wlp1cambist';
const ORG_PATH = '/oauth2/v1/token';
const CUSTOM_PATH = '/oauth2/aus1github';
const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';
const STS = 'urn:okta:params:oauth:token-type:oauth-sts';
const CONSENT_PAGE = 'https://example.okta.com/some/opaque/path';

/** Authenticates the agent by its key. The assertion must be for the endpoint that it is sent to. */
async function authenticateAgent(request: SimulatedRequest, server: SimulatedServer): Promise<void> {
  const wrongAudience = 'The audience claim for client_assertion must be the endpoint invoked for the request.';
  const { client, header } = await authenticateAssertion(request, server, {
    audience: `${server.origin}${request.path}`,
    algorithms: ['RS256', 'ES256'],
    maxLifeSeconds: 3600,
    wrongAudience: new OAuthError(401, 'invalid_client', wrongAudience),
  });
  refuseUnless(client === AGENT && header.kid === 'cambist', 'invalid_client', '', 401);
}

/** Reads the user's ID token, which must be for the agent. */
async function readIdToken({ form }: SimulatedRequest, server: SimulatedServer): Promise<void> {
  requireSubjectTokenType(form, 'id_token');
  const claims = await server.read(form.get('subject_token'));
  refuseUnless(claims?.aud === AGENT, 'invalid_grant', "'subject_token' is invalid.");
}

function requireScopes(form: URLSearchParams, allowed: readonly string[]): string {
  const scope = singleValue(form, 'scope');
  const others = scope.split(' ').filter((name) => !allowed.includes(name));
  const refused = `The following scopes are not allowed for this request: [${others.join(', ')}].`;
  refuseUnless(others.length === 0, 'invalid_scope', refused);
  return scope;
}

/** Okta: https://developer.okta.com/docs/guides/ai-agent-token-exchange/authserver/main/ */
const crossAppAccess: SimulationRules = {
  tokenPath: ORG_PATH,
  secondTokenPath: `${CUSTOM_PATH}/v1/token`,
  metadata(path, origin) {
    const issuer = `${origin}${CUSTOM_PATH}`;
    const body = { issuer, token_endpoint: `${issuer}/v1/token` };
    return path.includes(CUSTOM_PATH) ? { status: 200, body } : undefined;
  },
  async token(request, server) {
    await authenticateAgent(request, server);
    return request.path === ORG_PATH ? issueIdJag(request, server) : acceptIdJag(request, server);
  },
};

/** The org authorization server. The agent's resource connection decides which resource and scopes it may request. */
async function issueIdJag(request: SimulatedRequest, server: SimulatedServer): Promise<Record<string, unknown>> {
  const { form } = request;
  requireTokenExchange(form);
  await readIdToken(request, server);
  refuseUnless(singleValue(form, 'requested_token_type') === ID_JAG, 'invalid_request');
  const audience = singleValue(form, 'audience');
  const resource = singleValue(form, 'resource');
  const isConnected = audience === `${server.origin}${CUSTOM_PATH}` && resource === RESOURCE;
  refuseUnless(isConnected, 'invalid_target', "The 'resource' parameter is invalid.");
  const scope = requireScopes(form, ['repo:read', 'repo:list']);
  const claims = { aud: audience, client_id: AGENT, resource, scope, sub_profile: 'user' };
  return issued(await server.mint(claims, 'oauth-id-jag+jwt'), { issued_token_type: ID_JAG, token_type: 'N_A' });
}

/** The custom authorization server. */
async function acceptIdJag({ form }: SimulatedRequest, server: SimulatedServer): Promise<Record<string, unknown>> {
  const isBearer = singleValue(form, 'grant_type') === 'urn:ietf:params:oauth:grant-type:jwt-bearer';
  refuseUnless(isBearer, 'unsupported_grant_type');
  const assertion = singleValue(form, 'assertion');
  const jag = await server.read(assertion);
  const issuer = `${server.origin}${CUSTOM_PATH}`;
  const isFor = jag?.aud === issuer && jag.client_id === AGENT;
  const isIdJag = isFor && decodeProtectedHeader(assertion).typ === 'oauth-id-jag+jwt';
  refuseUnless(isIdJag, 'invalid_grant', 'The assertion is invalid.');
  refuseUnless([null, jag.resource].includes(form.get('resource')), 'invalid_target');
  const scope = requireScopes(form, String(jag.scope).split(' '));
  const token = await server.mint({ iss: issuer, aud: String(jag.resource), scp: scope.split(' '), cid: AGENT });
  return { access_token: token, token_type: 'Bearer', expires_in: 3600, scope };
}

const ID_TOKEN = { aud: AGENT };

test('gets a token for the backend from Okta by Cross App Access with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'okta-xaa', crossAppAccess);
  const idToken = await server.mint(ID_TOKEN);
  assert.equal((await call(idToken)).status, 200);
  const { iss, aud, scp } = received() as { iss: string; aud: string; scp: string[] };
  assert.deepEqual([iss, aud, scp], [`${server.origin}${CUSTOM_PATH}`, RESOURCE, ['repo:read']]);
  const [first, second] = server.requests.map(({ path, form }) => [path, form.get('resource'), form.get('scope')]);
  assert.deepEqual(first, [ORG_PATH, RESOURCE, 'repo:read']);
  assert.deepEqual(second, [`${CUSTOM_PATH}/v1/token`, RESOURCE, 'repo:read']);
});

testProduct({ recipe: 'okta-xaa', rules: crossAppAccess, claims: ID_TOKEN }, 'Okta Cross App Access', {
  ERR_EXCHANGE_REFUSED: [
    [
      'resource_refused',
      { route: { resource: 'https://other-mcp.example.com/mcp' } },
      /register the resource at the server/,
    ],
    ['scope_refused', { route: { scope: 'repo:admin' } }, /allow this client these scopes/],
  ],
  ERR_SUBJECT_TOKEN_INVALID: [
    ['verify_audience_differs', { token: { aud: '0oa1other' } }, /subject_token\.verify\.audience/],
  ],
  doctor: [
    ['client_refused', { clientAuth: { assertion_audience: 'https://example.okta.com' } }, /assertion_audience/],
  ],
});

/** Okta: https://developer.okta.com/docs/guides/ai-agent-token-exchange/resourceserver/main/ */
const brokeredConsent = ({ consent = true } = {}): SimulationRules => ({
  tokenPath: ORG_PATH,
  async token(request, server) {
    const { form } = request;
    await authenticateAgent(request, server);
    requireTokenExchange(form);
    await readIdToken(request, server);
    refuseUnless(singleValue(form, 'requested_token_type') === STS, 'invalid_request');
    const isGitHub = singleValue(form, 'resource') === 'https://github.com';
    refuseUnless(isGitHub, 'invalid_target', "The 'resource' parameter is invalid.");
    if (!consent) {
      const description = 'The user must authenticate with the authorization server for the request to proceed';
      throw new OAuthError(400, 'interaction_required', description, { interaction_uri: CONSENT_PAGE });
    }
    return issued('gho_of-alice', { issued_token_type: STS, refresh_token: 'ghr_of-alice', scope: 'repo profile' });
  },
});

test('tells the caller where to consent, and gets the token afterwards', async (t) => {
  let consent = false;
  const rules: SimulationRules = {
    tokenPath: ORG_PATH,
    token: (request, server) => brokeredConsent({ consent }).token(request, server),
  };
  const { server, call, received, app } = await startRecipe(t, 'okta-sts', rules);
  const idToken = await server.mint(ID_TOKEN);
  const refused = await call(idToken);
  const { code, interaction_uri: uri } = JSON.parse(refused.text);
  assert.deepEqual([refused.status, code, uri], [403, 'ERR_CONSENT_REQUIRED', CONSENT_PAGE]);
  assert.ok(!app.logText().includes('opaque/path'));
  consent = true;
  // The refusal is remembered for a second.
  await eventually('the exchange succeeds', async () => (await call(idToken)).status === 200);
  assert.equal(received(), 'gho_of-alice');
});

const ofBroker = { rules: brokeredConsent(), claims: ID_TOKEN, received: 'gho_of-alice' };

testProduct({ recipe: 'okta-sts', ...ofBroker }, 'Okta brokered consent', {
  doctor: [
    ['resource_refused', { route: { resource: 'https://gitlab.com' } }, /register the resource at the server/],
    [
      'user_consent_missing',
      { rules: brokeredConsent({ consent: false }) },
      /list "example\.okta\.com" in interaction\.hosts, then let the user .* open the URL/,
    ],
  ],
});
