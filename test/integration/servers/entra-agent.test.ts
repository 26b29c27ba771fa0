import assert from 'node:assert/strict';
import { test } from 'node:test';
import { authenticateAssertion, singleValue } from '../../harness/client-authentication.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { startRecipe } from '../../harness/recipe.ts';
import {
  issued,
  OAuthError,
  type SimulatedRequest,
  type SimulatedServer,
  type SimulationRules,
} from '../../harness/simulated-server.ts';
import { testMisconfigurations } from './misconfigurations.ts';

const TENANT = '/11111111-2222-3333-4444-555555555555';
const BLUEPRINT = 'aaaaaaaa-0000-4000-8000-000000000001';
const BACKEND = 'bbbbbbbb-0000-4000-8000-000000000002';
const AGENT = 'cccccccc-0000-4000-8000-000000000003';
/** Entra's own application for tokens that vouch for another identity. */
const EXCHANGE = 'fb60f99c-7a34-4190-8149-302f77469936';

interface State {
  /** Client assertions that the agent identity must not use any more. */
  readonly revoked: Set<string>;
  /** False: the blueprint's token comes from the blueprint's home tenant. */
  readonly home: boolean;
}

/** Entra Agent ID: https://learn.microsoft.com/entra/agent-id/agent-on-behalf-of-oauth-flow */
const entra = (state: State = { revoked: new Set(), home: true }): SimulationRules => ({
  tokenPath: `${TENANT}/oauth2/v2.0/token`,
  token: (request, server) => {
    switch (singleValue(request.form, 'grant_type')) {
      case 'client_credentials':
        return vouch(request, server);
      case 'urn:ietf:params:oauth:grant-type:jwt-bearer':
        return onBehalfOf(request, server, state);
      default: {
        const description = 'AADSTS82001: Agentic application is not permitted to use this grant.';
        throw new OAuthError(400, 'unauthorized_client', description);
      }
    }
  },
});

/** The blueprint's token for an agent identity. */
async function vouch(request: SimulatedRequest, server: SimulatedServer): Promise<Record<string, unknown>> {
  const { form } = request;
  const { client } = await authenticateAssertion(request, server, {
    audience: server.tokenEndpoint,
    algorithms: ['PS256', 'RS256'],
    maxLifeSeconds: 600,
  });
  if (client !== BLUEPRINT || singleValue(form, 'client_id') !== BLUEPRINT) {
    throw new OAuthError(401, 'invalid_client', 'AADSTS700016: Application was not found.');
  }
  allow(form, ['scope', 'fmi_path']);
  if (singleValue(form, 'scope') !== 'api://AzureADTokenExchange/.default') {
    throw new OAuthError(400, 'invalid_scope', 'AADSTS70011: The provided value for scope is not valid.');
  }
  const path = form.get('fmi_path') ?? '';
  const claims = { aud: EXCHANGE, sub: `/eid1/c/pub/t/x/a/y/${path === '' ? BLUEPRINT : path}`, azp: BLUEPRINT };
  const { issued_token_type: _none, ...response } = issued(await server.mint(claims));
  return { ...response, ext_expires_in: 300 };
}

async function onBehalfOf(
  { form, authorization }: SimulatedRequest,
  server: SimulatedServer,
  { revoked, home }: State,
): Promise<Record<string, unknown>> {
  const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
  const assertion = singleValue(form, 'client_assertion');
  const refused = (description: string) => new OAuthError(401, 'invalid_client', description);
  if (authorization !== undefined || singleValue(form, 'client_assertion_type') !== type)
    throw refused('AADSTS7000215');
  const vouched = await server.read(assertion);
  if (vouched?.aud !== EXCHANGE || singleValue(form, 'client_id') !== AGENT || revoked.has(assertion)) {
    throw refused('AADSTS700213: No matching federated identity record found for presented assertion subject.');
  }
  if (!home) throw refused('AADSTS700211: No matching federated identity record found for presented assertion issuer.');
  if (!String(vouched.sub).endsWith(`/${AGENT}`)) {
    throw refused('AADSTS700213: No matching federated identity record found for presented assertion subject.');
  }
  allow(form, ['scope', 'assertion', 'requested_token_use']);
  if (form.get('requested_token_use') !== 'on_behalf_of') {
    throw new OAuthError(400, 'invalid_request', "AADSTS90014: The required field 'requested_token_use' is missing.");
  }
  if (singleValue(form, 'scope') !== `api://${BACKEND}/.default`) {
    throw new OAuthError(400, 'invalid_scope', 'AADSTS70011: The provided value for scope is not valid.');
  }
  const subject = await server.read(singleValue(form, 'assertion'));
  if (subject?.aud !== BLUEPRINT) {
    const description = 'AADSTS500131: Assertion audience does not match the Client app presenting the assertion.';
    throw new OAuthError(400, 'invalid_grant', description);
  }
  const { issued_token_type: _none, ...response } = issued(await server.mint({ aud: BACKEND, azp: AGENT }));
  return response;
}

const COMMON = ['grant_type', 'client_id', 'client_assertion', 'client_assertion_type'];

function allow(form: URLSearchParams, names: readonly string[]): void {
  const unknown = [...form.keys()].find((name) => !COMMON.includes(name) && !names.includes(name));
  if (unknown !== undefined)
    throw new OAuthError(400, 'invalid_request', `AADSTS901002: '${unknown}' is not supported.`);
}

const USER = { aud: BLUEPRINT };

test('gets a token on behalf of the caller as an agent identity with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'entra-agent', entra());
  assert.equal((await call(await server.mint(USER))).status, 200);
  const { aud, azp } = received() as { aud: string; azp: string };
  assert.deepEqual([aud, azp], [BACKEND, AGENT]);
  assert.equal((await call(await server.mint({ ...USER, sub: 'bob' }))).status, 200);
  const clients = server.requests.map(({ form }) => form.get('client_id'));
  assert.deepEqual(clients, [BLUEPRINT, AGENT, AGENT], "the blueprint's token is cached for all callers");
});

test('replaces a refused token of the blueprint once', async (t) => {
  const state = { revoked: new Set<string>(), home: true };
  const { server, call } = await startRecipe(t, 'entra-agent', entra(state));
  assert.equal((await call(await server.mint(USER))).status, 200);
  state.revoked.add(server.requests.at(-1)?.form.get('client_assertion') ?? '');
  assert.equal((await call(await server.mint(USER))).status, 200);
  const clients = server.requests.map(({ form }) => form.get('client_id'));
  assert.deepEqual(clients, [BLUEPRINT, AGENT, AGENT, BLUEPRINT, AGENT]);
});

test('sends no token of a caller when the blueprint is refused', async (t) => {
  const { server, call, upstream, config, app } = await startRecipe(t, 'entra-agent', entra());
  const { blueprint = {} } = config.authorization_servers;
  app.reloadTo({
    ...config,
    authorization_servers: { ...config.authorization_servers, blueprint: { ...blueprint, client_id: AGENT } },
  });
  assertProblem(await call(await server.mint(USER)), 'ERR_CLIENT_REFUSED');
  assert.ok(server.requests.every(({ form }) => !form.has('assertion')));
  assert.equal(upstream.requests.length, 0);
});

test('never sends the token of the blueprint to a backend', async (t) => {
  const { server, call, upstream } = await startRecipe(t, 'entra-agent', entra());
  assert.equal((await call(await server.mint(USER))).status, 200);
  const vouched = server.requests.at(-1)?.form.get('client_assertion') ?? '';
  assert.ok(vouched !== '' && !JSON.stringify(upstream.requests.map(({ rawHeaders }) => rawHeaders)).includes(vouched));
});

testMisconfigurations({ name: 'Microsoft Entra Agent ID', recipe: 'entra-agent', rules: entra(), claims: USER }, [
  {
    when: 'the blueprint gets its token at another tenant than the agent identity',
    rules: entra({ revoked: new Set(), home: false }),
    finding: 'client_refused',
    fix: /tenant of the agent identity/,
  },
  {
    when: 'the grant is token exchange',
    server: { grant: 'token_exchange', extra_params: {} },
    route: { resource: [] },
    finding: 'exchange_disabled',
    fix: /grant: jwt_bearer/,
  },
  {
    when: "the caller's token is for another application",
    token: { aud: AGENT },
    finding: 'verify_audience_differs',
    fix: /subject_token\.verify\.audience/,
  },
]);
