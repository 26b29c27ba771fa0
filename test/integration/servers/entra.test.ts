import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertProblem } from '../../harness/http-call.ts';
import {
  authenticateAssertion,
  issued,
  OAuthError,
  RESOURCE,
  refuseUnless,
  requireSubject,
  type SimulatedRequest,
  type SimulatedServer,
  type SimulationRules,
  singleValue,
  startRecipe,
} from '../../harness/recipe.ts';
import { testProduct } from './product.ts';

const TENANT = '/11111111-2222-3333-4444-555555555555';
const CAMBIST = 'aaaaaaaa-0000-4000-8000-000000000001';
const BACKEND = 'bbbbbbbb-0000-4000-8000-000000000002';
const CLAIMS = '{"access_token":{"polids":{"essential":true,"values":["9ab03e19-ed42-4168-b6b7-7001fb3e933a"]}}}';
const WRONG_AUDIENCE = 'AADSTS500131: Assertion audience does not match the Client app presenting the assertion.';
/** The parameters that Entra documents for its grants. Entra ignores some others, but cambist must not need them. */
const COMMON = ['grant_type', 'client_id', 'client_assertion', 'client_assertion_type'];

function allow(form: URLSearchParams, names: readonly string[]): void {
  const unknown = [...form.keys()].find((name) => !COMMON.includes(name) && !names.includes(name));
  refuseUnless(unknown === undefined, 'invalid_request', `AADSTS901002: '${unknown}' is not supported.`);
}

function requireOnBehalfOf(form: URLSearchParams): void {
  const isPresent = form.get('requested_token_use') === 'on_behalf_of';
  refuseUnless(isPresent, 'invalid_request', "AADSTS90014: The required field 'requested_token_use' is missing.");
}

function requireScope(form: URLSearchParams, scope: string): void {
  const isValid = singleValue(form, 'scope') === scope;
  refuseUnless(isValid, 'invalid_scope', 'AADSTS70011: The provided value for scope is not valid.');
}

const authenticate = (request: SimulatedRequest, server: SimulatedServer) =>
  authenticateAssertion(request, server, {
    audience: server.tokenEndpoint,
    algorithms: ['PS256', 'RS256'],
    maxLifeSeconds: 600,
    wrongAudience: new OAuthError(
      401,
      'invalid_client',
      'AADSTS700023: Client assertion audience claim does not match.',
    ),
  });

/** Entra ID: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow */
const entra: SimulationRules = {
  tokenPath: `${TENANT}/oauth2/v2.0/token`,
  async token(request, server) {
    const { form } = request;
    const { header } = await authenticate(request, server);
    refuseUnless(header['x5t#S256'] !== undefined, 'invalid_client', 'AADSTS700027: no certificate', 401);
    const isBearer = singleValue(form, 'grant_type') === 'urn:ietf:params:oauth:grant-type:jwt-bearer';
    refuseUnless(isBearer, 'unsupported_grant_type', 'AADSTS70003');
    allow(form, ['scope', 'assertion', 'requested_token_use']);
    requireOnBehalfOf(form);
    requireScope(form, `api://${BACKEND}/.default`);
    const subject = await requireSubject(
      form,
      server,
      'invalid_grant',
      'AADSTS50013: Assertion failed signature validation.',
    );
    refuseUnless(subject.aud === CAMBIST, 'invalid_grant', WRONG_AUDIENCE);
    const consented = subject.unconsented !== true;
    refuseUnless(consented, 'invalid_grant', 'AADSTS65001: The user or administrator has not consented.');
    if (subject.risky === true) {
      throw new OAuthError(400, 'interaction_required', 'AADSTS50076: the user must use multi-factor authentication', {
        suberror: 'basic_action',
        claims: CLAIMS,
      });
    }
    const { issued_token_type: _none, ...response } = issued(await server.mint({ aud: BACKEND, azp: CAMBIST }));
    return { ...response, ext_expires_in: 300, refresh_token: 'refresh-token-of-the-caller' };
  },
};

test('returns the claims of Entra when it requires the user to interact', async (t) => {
  const { server, call, upstream } = await startRecipe(t, 'entra-obo', entra);
  const response = await call(await server.mint({ aud: CAMBIST, risky: true }));
  assertProblem(response, 'ERR_INTERACTION_REQUIRED');
  const [, claims = ''] =
    /^Bearer error="insufficient_claims", claims="([^"]+)"/.exec(response.headers['www-authenticate'] ?? '') ?? [];
  assert.equal(Buffer.from(claims, 'base64').toString(), CLAIMS);
  assert.equal(upstream.requests.length, 0);
});

const ofEntra = { rules: entra, claims: { aud: CAMBIST }, received: { aud: BACKEND } };

testProduct({ recipe: 'entra-obo', ...ofEntra }, 'Microsoft Entra ID', {
  ERR_CLIENT_REFUSED: [
    ['resource_refused', { route: { resource: RESOURCE } }, /set resource: \[\]/],
    [
      'exchange_disabled',
      { server: { grant: 'token_exchange', extra_params: {} } },
      /grant: jwt_bearer .* requested_token_use: on_behalf_of/,
    ],
  ],
  ERR_EXCHANGE_REFUSED: [
    ['scope_format', { route: { scope: 'repo:read' } }, /api:\/\/<application id of the backend>\/\.default/],
  ],
  ERR_SUBJECT_TOKEN_INVALID: [
    [
      'subject_audience_lacks_client',
      { token: { aud: '00000003-0000-0000-c000-000000000000' } },
      new RegExp(`api://${CAMBIST}/\\.default`),
    ],
  ],
  doctor: [
    [
      'on_behalf_of_missing',
      { server: { extra_params: {} } },
      /authorization_servers\.entra\.extra_params: \{ requested_token_use: on_behalf_of \}/,
    ],
    ['consent_missing', { token: { aud: CAMBIST, unconsented: true } }, /admin consent/],
    [
      'client_refused',
      { clientAuth: { assertion_audience: undefined } },
      /client_auth\.assertion_audience to the token endpoint/,
    ],
    ['interaction_required', { token: { aud: CAMBIST, risky: true } }, /claims of the challenge/],
  ],
});

const BLUEPRINT = 'aaaaaaaa-0000-4000-8000-000000000001';
const AGENT = 'cccccccc-0000-4000-8000-000000000003';
/** Entra's own application for tokens that vouch for another identity. */
const EXCHANGE = 'fb60f99c-7a34-4190-8149-302f77469936';

const stateOf = (home = true) => ({
  /** Client assertions that the agent identity must not use any more. */
  revoked: new Set<string>(),
  /** False: the blueprint's token comes from the blueprint's home tenant. */
  home,
});

/** Entra Agent ID: https://learn.microsoft.com/entra/agent-id/agent-on-behalf-of-oauth-flow */
const agentIdentity = (state = stateOf()): SimulationRules => ({
  tokenPath: `${TENANT}/oauth2/v2.0/token`,
  token: (request, server) => {
    switch (singleValue(request.form, 'grant_type')) {
      case 'client_credentials':
        return vouch(request, server);
      case 'urn:ietf:params:oauth:grant-type:jwt-bearer':
        return onBehalfOf(request, server, state);
      default:
        throw new OAuthError(
          400,
          'unauthorized_client',
          'AADSTS82001: Agentic application is not permitted to use this grant.',
        );
    }
  },
});

/** The blueprint's token for an agent identity. */
async function vouch(request: SimulatedRequest, server: SimulatedServer): Promise<Record<string, unknown>> {
  const { form } = request;
  const { client } = await authenticate(request, server);
  const isBlueprint = client === BLUEPRINT && singleValue(form, 'client_id') === BLUEPRINT;
  refuseUnless(isBlueprint, 'invalid_client', 'AADSTS700016: Application was not found.', 401);
  allow(form, ['scope', 'fmi_path']);
  requireScope(form, 'api://AzureADTokenExchange/.default');
  const path = form.get('fmi_path') ?? '';
  const claims = { aud: EXCHANGE, sub: `/eid1/c/pub/t/x/a/y/${path === '' ? BLUEPRINT : path}`, azp: BLUEPRINT };
  const { issued_token_type: _none, ...response } = issued(await server.mint(claims));
  return { ...response, ext_expires_in: 300 };
}

async function onBehalfOf(
  { form, authorization }: SimulatedRequest,
  server: SimulatedServer,
  { revoked, home }: ReturnType<typeof stateOf>,
): Promise<Record<string, unknown>> {
  const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
  const assertion = singleValue(form, 'client_assertion');
  const isPost = authorization === undefined && singleValue(form, 'client_assertion_type') === type;
  refuseUnless(isPost, 'invalid_client', 'AADSTS7000215', 401);
  const vouched = await server.read(assertion);
  const isKnown = vouched?.aud === EXCHANGE && singleValue(form, 'client_id') === AGENT && !revoked.has(assertion);
  const noRecord = 'No matching federated identity record found for presented assertion';
  refuseUnless(isKnown, 'invalid_client', `AADSTS700213: ${noRecord} subject.`, 401);
  refuseUnless(home, 'invalid_client', `AADSTS700211: ${noRecord} issuer.`, 401);
  const isForAgent = String(vouched.sub).endsWith(`/${AGENT}`);
  refuseUnless(isForAgent, 'invalid_client', `AADSTS700213: ${noRecord} subject.`, 401);
  allow(form, ['scope', 'assertion', 'requested_token_use']);
  requireOnBehalfOf(form);
  requireScope(form, `api://${BACKEND}/.default`);
  const subject = await server.read(singleValue(form, 'assertion'));
  refuseUnless(subject?.aud === BLUEPRINT, 'invalid_grant', WRONG_AUDIENCE);
  const { issued_token_type: _none, ...response } = issued(await server.mint({ aud: BACKEND, azp: AGENT }));
  return response;
}

const USER = { aud: BLUEPRINT };

test('gets a token on behalf of the caller as an agent identity, and sends no token of the blueprint', async (t) => {
  const { server, call, received, upstream } = await startRecipe(t, 'entra-agent', agentIdentity());
  assert.equal((await call(await server.mint(USER))).status, 200);
  const { aud, azp } = received() as { aud: string; azp: string };
  assert.deepEqual([aud, azp], [BACKEND, AGENT]);
  const vouched = server.requests.at(-1)?.form.get('client_assertion') ?? '';
  assert.ok(vouched !== '' && !JSON.stringify(upstream.requests.map(({ rawHeaders }) => rawHeaders)).includes(vouched));
  assert.equal((await call(await server.mint({ ...USER, sub: 'bob' }))).status, 200);
  const clients = server.requests.map(({ form }) => form.get('client_id'));
  assert.deepEqual(clients, [BLUEPRINT, AGENT, AGENT], "the blueprint's token is cached for all callers");
});

test('replaces a refused token of the blueprint once', async (t) => {
  const state = stateOf();
  const { server, call } = await startRecipe(t, 'entra-agent', agentIdentity(state));
  assert.equal((await call(await server.mint(USER))).status, 200);
  state.revoked.add(server.requests.at(-1)?.form.get('client_assertion') ?? '');
  assert.equal((await call(await server.mint(USER))).status, 200);
  const clients = server.requests.map(({ form }) => form.get('client_id'));
  assert.deepEqual(clients, [BLUEPRINT, AGENT, AGENT, BLUEPRINT, AGENT]);
});

test('sends no token of a caller when the blueprint is refused', async (t) => {
  const { server, call, upstream, config, app } = await startRecipe(t, 'entra-agent', agentIdentity());
  const { blueprint = {} } = config.authorization_servers;
  app.reloadTo({
    ...config,
    authorization_servers: { ...config.authorization_servers, blueprint: { ...blueprint, client_id: AGENT } },
  });
  assertProblem(await call(await server.mint(USER)), 'ERR_CLIENT_REFUSED');
  assert.ok(server.requests.every(({ form }) => !form.has('assertion')));
  assert.equal(upstream.requests.length, 0);
});

testProduct({ recipe: 'entra-agent', rules: agentIdentity(), claims: USER }, 'Microsoft Entra Agent ID', {
  doctor: [
    ['client_refused', { rules: agentIdentity(stateOf(false)) }, /tenant of the agent identity/],
    [
      'exchange_disabled',
      { server: { grant: 'token_exchange', extra_params: {} }, route: { resource: [] } },
      /grant: jwt_bearer/,
    ],
    ['verify_audience_differs', { token: { aud: AGENT } }, /subject_token\.verify\.audience/],
  ],
});
