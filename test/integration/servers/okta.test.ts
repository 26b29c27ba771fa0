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

testProduct({ name: 'Okta', recipe: 'okta', rules: okta() }, { aud: 'api://default' }, { aud: 'api://github-mcp' }, [
  ['exchange_disabled', { rules: okta({ grant: false }) }, /allow the client this grant/],
  [
    'target_not_permitted',
    { rules: okta({ policy: false }) },
    /allow it for client "0oa1cambist" \(Okta: an access policy with a rule/,
  ],
  ['scope_missing', { route: { scope: undefined } }, /set the route's scope/],
  ['scope_refused', { route: { scope: 'repo:write' } }, /allow this client these scopes/, 'ERR_EXCHANGE_REFUSED'],
  [
    'target_refused',
    { route: { audience: ['api://github-mcp', 'api://docs-mcp'] } },
    /the server's one name of the backend/,
    'ERR_CLIENT_REFUSED',
  ],
  [
    'target_refused',
    { route: { audience: 'api://other' } },
    /Okta: the audience of the authorization server/,
    'ERR_EXCHANGE_REFUSED',
  ],
  ['subject_issuer_differs', { token: foreignToken({ aud: 'api://default' }) }, /Okta: trusted servers/],
]);

const AGENT = 'wlp1cambist';
const ORG_PATH = '/oauth2/v1/token';
const CUSTOM_PATH = '/oauth2/aus1github';
const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';
const STS = 'urn:okta:params:oauth:token-type:oauth-sts';
const CONSENT_PAGE = 'https://example.okta.com/some/opaque/path';

/** Authenticates the agent by its key. The assertion must be for the endpoint that it is sent to. */
async function authenticateAgent(request: SimulatedRequest, server: SimulatedServer): Promise<void> {
  const { client, header } = await authenticateAssertion(request, server, {
    audience: `${server.origin}${request.path}`,
    algorithms: ['RS256', 'ES256'],
    maxLifeSeconds: 3600,
    wrongAudience: new OAuthError(
      401,
      'invalid_client',
      'The audience claim for client_assertion must be the endpoint invoked for the request.',
    ),
  });
  if (client !== AGENT || header.kid !== 'cambist') throw new OAuthError(401, 'invalid_client');
}

/** Reads the user's ID token, which must be for the agent. */
async function readIdToken({ form }: SimulatedRequest, server: SimulatedServer): Promise<void> {
  requireSubjectTokenType(form, 'id_token');
  const claims = await server.read(form.get('subject_token'));
  if (claims?.aud !== AGENT) throw new OAuthError(400, 'invalid_grant', "'subject_token' is invalid.");
}

function requireScopes(form: URLSearchParams, allowed: readonly string[]): string {
  const scope = singleValue(form, 'scope');
  const others = scope.split(' ').filter((name) => !allowed.includes(name));
  if (others.length === 0) return scope;
  const description = `The following scopes are not allowed for this request: [${others.join(', ')}].`;
  throw new OAuthError(400, 'invalid_scope', description);
}

/** Okta: https://developer.okta.com/docs/guides/ai-agent-token-exchange/authserver/main/ */
const crossAppAccess: SimulationRules = {
  tokenPath: ORG_PATH,
  secondTokenPath: `${CUSTOM_PATH}/v1/token`,
  metadata: (path, origin) =>
    path.includes(CUSTOM_PATH)
      ? {
          status: 200,
          body: { issuer: `${origin}${CUSTOM_PATH}`, token_endpoint: `${origin}${CUSTOM_PATH}/v1/token` },
        }
      : undefined,
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
  if (singleValue(form, 'requested_token_type') !== ID_JAG) throw new OAuthError(400, 'invalid_request');
  const audience = singleValue(form, 'audience');
  const resource = singleValue(form, 'resource');
  if (audience !== `${server.origin}${CUSTOM_PATH}` || resource !== RESOURCE) {
    throw new OAuthError(400, 'invalid_target', "The 'resource' parameter is invalid.");
  }
  const scope = requireScopes(form, ['repo:read', 'repo:list']);
  const claims = { aud: audience, client_id: AGENT, resource, scope, sub_profile: 'user' };
  return issued(await server.mint(claims, 'oauth-id-jag+jwt'), { issued_token_type: ID_JAG, token_type: 'N_A' });
}

/** The custom authorization server. */
async function acceptIdJag({ form }: SimulatedRequest, server: SimulatedServer): Promise<Record<string, unknown>> {
  if (singleValue(form, 'grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer') {
    throw new OAuthError(400, 'unsupported_grant_type');
  }
  const assertion = singleValue(form, 'assertion');
  const jag = await server.read(assertion);
  const issuer = `${server.origin}${CUSTOM_PATH}`;
  const isIdJag = jag !== undefined && decodeProtectedHeader(assertion).typ === 'oauth-id-jag+jwt';
  if (!isIdJag || jag.aud !== issuer || jag.client_id !== AGENT) {
    throw new OAuthError(400, 'invalid_grant', 'The assertion is invalid.');
  }
  if (form.has('resource') && form.get('resource') !== jag.resource) throw new OAuthError(400, 'invalid_target');
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

testProduct({ name: 'Okta Cross App Access', recipe: 'okta-xaa', rules: crossAppAccess }, ID_TOKEN, undefined, [
  [
    'resource_refused',
    { route: { resource: 'https://other-mcp.example.com/mcp' } },
    /register the resource at the server/,
    'ERR_EXCHANGE_REFUSED',
  ],
  ['scope_refused', { route: { scope: 'repo:admin' } }, /allow this client these scopes/, 'ERR_EXCHANGE_REFUSED'],
  ['client_refused', { clientAuth: { assertion_audience: 'https://example.okta.com' } }, /assertion_audience/],
  [
    'verify_audience_differs',
    { token: { aud: '0oa1other' } },
    /subject_token\.verify\.audience/,
    'ERR_SUBJECT_TOKEN_INVALID',
  ],
]);

/** Okta: https://developer.okta.com/docs/guides/ai-agent-token-exchange/resourceserver/main/ */
const brokeredConsent = ({ consent = true } = {}): SimulationRules => ({
  tokenPath: ORG_PATH,
  async token(request, server) {
    const { form } = request;
    await authenticateAgent(request, server);
    requireTokenExchange(form);
    await readIdToken(request, server);
    if (singleValue(form, 'requested_token_type') !== STS) throw new OAuthError(400, 'invalid_request');
    if (singleValue(form, 'resource') !== 'https://github.com') {
      throw new OAuthError(400, 'invalid_target', "The 'resource' parameter is invalid.");
    }
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

testProduct({ name: 'Okta brokered consent', recipe: 'okta-sts', rules: brokeredConsent() }, ID_TOKEN, 'gho_of-alice', [
  ['resource_refused', { route: { resource: 'https://gitlab.com' } }, /register the resource at the server/],
  [
    'user_consent_missing',
    { rules: brokeredConsent({ consent: false }) },
    /list "example\.okta\.com" in interaction\.hosts, then let the user .* open the URL/,
  ],
]);
