import assert from 'node:assert/strict';
import { test } from 'node:test';
import { authenticateAssertion, singleValue } from '../../harness/client-authentication.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { startRecipe } from '../../harness/recipe.ts';
import { issued, OAuthError, type SimulationRules } from '../../harness/simulated-server.ts';
import { testMisconfigurations } from './misconfigurations.ts';

const TENANT = '/11111111-2222-3333-4444-555555555555';
const CAMBIST = 'aaaaaaaa-0000-4000-8000-000000000001';
const BACKEND = 'bbbbbbbb-0000-4000-8000-000000000002';
const CLAIMS = '{"access_token":{"polids":{"essential":true,"values":["9ab03e19-ed42-4168-b6b7-7001fb3e933a"]}}}';
/** The parameters that Entra documents for this grant. Entra ignores some others, but cambist must not need them. */
const KNOWN = [
  'grant_type',
  'assertion',
  'requested_token_use',
  'scope',
  'client_id',
  'client_assertion',
  'client_assertion_type',
];

/** Entra ID: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow */
const entra: SimulationRules = {
  tokenPath: `${TENANT}/oauth2/v2.0/token`,
  async token(request, server) {
    const { form } = request;
    const { header } = await authenticateAssertion(request, server, {
      audience: server.tokenEndpoint,
      algorithms: ['PS256', 'RS256'],
      maxLifeSeconds: 600,
      wrongAudience: new OAuthError(
        401,
        'invalid_client',
        'AADSTS700023: Client assertion audience claim does not match.',
      ),
    });
    if (header['x5t#S256'] === undefined) throw new OAuthError(401, 'invalid_client', 'AADSTS700027: no certificate');
    if (singleValue(form, 'grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer') {
      throw new OAuthError(400, 'unsupported_grant_type', 'AADSTS70003');
    }
    const unknown = [...form.keys()].find((name) => !KNOWN.includes(name));
    if (unknown !== undefined)
      throw new OAuthError(400, 'invalid_request', `AADSTS901002: '${unknown}' is not supported.`);
    if (form.get('requested_token_use') !== 'on_behalf_of') {
      throw new OAuthError(400, 'invalid_request', "AADSTS90014: The required field 'requested_token_use' is missing.");
    }
    const [, app] = /^api:\/\/([0-9a-f-]+)\/\.default$/.exec(singleValue(form, 'scope')) ?? [];
    if (app !== BACKEND)
      throw new OAuthError(400, 'invalid_scope', 'AADSTS70011: The provided value for scope is not valid.');
    const subject = await server.read(form.get('assertion'));
    if (subject === undefined) {
      throw new OAuthError(400, 'invalid_grant', 'AADSTS50013: Assertion failed signature validation.');
    }
    if (subject.aud !== CAMBIST) {
      const description = 'AADSTS500131: Assertion audience does not match the Client app presenting the assertion.';
      throw new OAuthError(400, 'invalid_grant', description);
    }
    if (subject.unconsented === true) {
      throw new OAuthError(400, 'invalid_grant', 'AADSTS65001: The user or administrator has not consented.');
    }
    if (subject.risky === true) {
      throw new OAuthError(400, 'interaction_required', 'AADSTS50076: the user must use multi-factor authentication', {
        suberror: 'basic_action',
        claims: CLAIMS,
      });
    }
    const { issued_token_type: _none, ...response } = issued(await server.mint({ aud: app, azp: CAMBIST }));
    return { ...response, ext_expires_in: 300, refresh_token: 'refresh-token-of-the-caller' };
  },
};

test('gets a token on behalf of the caller from Entra with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'entra-obo', entra);
  assert.equal((await call(await server.mint({ aud: CAMBIST }))).status, 200);
  assert.equal((received() as { aud: string }).aud, BACKEND);
});

test('returns the claims of Entra when it requires the user to interact', async (t) => {
  const { server, call, upstream } = await startRecipe(t, 'entra-obo', entra);
  const response = await call(await server.mint({ aud: CAMBIST, risky: true }));
  assertProblem(response, 'ERR_INTERACTION_REQUIRED');
  const [, claims = ''] =
    /^Bearer error="insufficient_claims", claims="([^"]+)"/.exec(response.headers['www-authenticate'] ?? '') ?? [];
  assert.equal(Buffer.from(claims, 'base64').toString(), CLAIMS);
  assert.equal(upstream.requests.length, 0);
});

test('returns the refusals of Entra for a token for another application, and for a scope in another format', async (t) => {
  const { server, call, change } = await startRecipe(t, 'entra-obo', entra);
  assertProblem(await call(await server.mint({ aud: 'another' })), 'ERR_SUBJECT_TOKEN_INVALID');
  change({ scope: `api://${BACKEND}/read` });
  assertProblem(await call(await server.mint({ aud: CAMBIST })), 'ERR_EXCHANGE_REFUSED');
});

test('returns the refusals of Entra for parameters of token exchange', async (t) => {
  const { server, call, change } = await startRecipe(t, 'entra-obo', entra);
  const token = await server.mint({ aud: CAMBIST });
  change({ resource: 'https://github-mcp.example.com/mcp' });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({}, { grant: 'token_exchange', extra_params: {} });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
});

testMisconfigurations({ name: 'Microsoft Entra ID', recipe: 'entra-obo', rules: entra, claims: { aud: CAMBIST } }, [
  {
    when: 'the token of the caller is for another application',
    token: { aud: '00000003-0000-0000-c000-000000000000' },
    finding: 'subject_audience_lacks_client',
    fix: new RegExp(`api://${CAMBIST}/\\.default`),
  },
  {
    when: 'the scope names no application',
    route: { scope: 'repo:read' },
    finding: 'scope_format',
    fix: /api:\/\/<application id of the backend>\/\.default/,
  },
  {
    when: 'a resource is sent',
    route: { resource: 'https://github-mcp.example.com/mcp' },
    finding: 'resource_refused',
    fix: /set resource: \[\]/,
  },
  {
    when: 'the grant is token exchange',
    server: { grant: 'token_exchange', extra_params: {} },
    finding: 'exchange_disabled',
    fix: /grant: jwt_bearer .* requested_token_use: on_behalf_of/,
  },
  {
    when: 'the extra parameter is missing',
    server: { extra_params: {} },
    finding: 'on_behalf_of_missing',
    fix: /authorization_servers\.entra\.extra_params: \{ requested_token_use: on_behalf_of \}/,
  },
  {
    when: 'consent is missing',
    token: { aud: CAMBIST, unconsented: true },
    finding: 'consent_missing',
    fix: /admin consent/,
  },
  {
    when: 'the client assertion has the issuer as its audience',
    server: ({ config }) => ({
      client_auth: { ...(config.authorization_servers.entra?.client_auth as object), assertion_audience: undefined },
    }),
    finding: 'client_refused',
    fix: /client_auth\.assertion_audience to the token endpoint/,
  },
  {
    when: 'the user must interact',
    token: { aud: CAMBIST, risky: true },
    finding: 'interaction_required',
    fix: /claims of the challenge/,
  },
]);
