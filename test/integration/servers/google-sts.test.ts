import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeJwt } from 'jose';
import { requireSubjectTokenType, requireTokenExchange, singleValue } from '../../harness/client-authentication.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { startRecipe } from '../../harness/recipe.ts';
import { issued, OAuthError, type SimulationRules } from '../../harness/simulated-server.ts';
import { foreignToken, testMisconfigurations } from './misconfigurations.ts';

const PROVIDER =
  '//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/agents/providers/company';
const RESOURCE_NAME =
  /^\/\/iam\.googleapis\.com\/projects\/[\w-]+\/locations\/global\/workloadIdentityPools\/[\w-]+\/providers\/[\w-]+$/;
const BY_PROJECT_ID = PROVIDER.replace('123456789012', 'my-project');
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

/** Google STS: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token */
const google = (reachable = true): SimulationRules => ({
  tokenPath: '/v1/token',
  async token({ form, authorization }, server) {
    if (authorization !== undefined) {
      throw apiError(401, 'UNAUTHENTICATED', 'Request had invalid authentication credentials.');
    }
    for (const name of ['client_id', 'resource']) {
      const description = `Invalid JSON payload received. Unknown name "${name}": Cannot bind query parameter.`;
      if (form.has(name)) throw apiError(400, 'INVALID_ARGUMENT', description);
    }
    requireTokenExchange(form);
    if (!RESOURCE_NAME.test(form.get('audience') ?? '')) {
      const description =
        'Invalid value for "audience". This value should be the full resource name of the Identity Provider.';
      throw new OAuthError(400, 'invalid_request', description);
    }
    if (form.get('requested_token_type') !== ACCESS_TOKEN) {
      throw new OAuthError(400, 'invalid_request', 'Invalid value of requested_token_type in request.');
    }
    requireSubjectTokenType(form, 'jwt', 'id_token');
    if (!form.has('scope')) throw new OAuthError(400, 'invalid_request', 'Scope(s) must be provided.');
    JSON.parse(form.get('options') ?? '{}');
    if (singleValue(form, 'audience') !== PROVIDER) {
      const description =
        'The target service indicated by the "audience" parameters is invalid. This might either be because the pool or ' +
        "provider is disabled or deleted or because it doesn't exist.";
      throw new OAuthError(400, 'invalid_target', description);
    }
    const token = singleValue(form, 'subject_token');
    const stated = claimsIn(token);
    if (stated === undefined) throw new OAuthError(400, 'invalid_request', 'Unable to parse the ID Token.');
    if (stated.iss !== server.issuer) {
      throw new OAuthError(
        400,
        'invalid_grant',
        `The issuer in ID Token ${stated.iss} does not match the expected ones.`,
      );
    }
    if (!reachable) throw new OAuthError(400, 'invalid_grant', "Error connecting to the given credential's issuer.");
    const subject = await server.read(token);
    if (subject === undefined) throw new OAuthError(400, 'invalid_grant', 'Unable to verify the ID Token signature.');
    if (subject.aud !== 'pool') {
      const description = `The audience in ID Token [${subject.aud}] does not match the expected audience.`;
      throw new OAuthError(400, 'invalid_grant', description);
    }
    if (subject.contractor === true) {
      throw new OAuthError(400, 'unauthorized_client', 'The given credential is rejected by the attribute condition.');
    }
    return issued('ya29.d.federated-token-of-google', { expires_in: 3599 });
  },
  metadata: () => ({ status: 404, body: '' }),
});

/** An error in the format of Google APIs, from the servers in front of the token service. */
function apiError(status: number, name: string, message: string): OAuthError {
  return new OAuthError(status, '', '', { error: { code: status, message, status: name } });
}

function claimsIn(token: string) {
  try {
    return decodeJwt(token);
  } catch {
    return undefined;
  }
}

test('gets a federated token from Google with its recipe, without a client', async (t) => {
  const { server, call, received } = await startRecipe(t, 'google-sts', google());
  assert.equal((await call(await server.mint({ aud: 'pool' }))).status, 200);
  assert.equal(received(), 'ya29.d.federated-token-of-google');
});

test('returns the refusals of Google for a client, another token type and an invalid token', async (t) => {
  const { app, config, server, call, change, upstream } = await startRecipe(t, 'google-sts', google());
  assertProblem(await call(foreignToken()), 'ERR_SUBJECT_TOKEN_INVALID');
  const token = await server.mint({ aud: 'pool' });
  change({}, { client_id: 'cambist' });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ audience: 'pool' });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ audience: BY_PROJECT_ID });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  app.reloadTo({ ...config, defaults: { subject_token: { type: 'jwt' } } });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  assert.equal(upstream.requests.length, 0);
});

process.env.UNWANTED_SECRET = 'a-secret-that-google-does-not-want';

testMisconfigurations({ name: 'Google STS', recipe: 'google-sts', rules: google(), claims: { aud: 'pool' } }, [
  {
    when: 'the client authenticates',
    server: {
      client_id: 'cambist',
      client_auth: { method: 'client_secret_basic', client_secret: { env: 'UNWANTED_SECRET' } },
    },
    finding: 'client_not_supported',
    fix: /client_auth: \{ method: none \}, and leave client_id out/,
  },
  {
    when: 'a client id is sent',
    server: { client_id: 'cambist' },
    finding: 'client_not_supported',
    fix: /leave client_id out/,
  },
  {
    when: 'the audience is not a resource name',
    route: { audience: 'agents' },
    finding: 'audience_format',
    fix: /audience: \/\/iam\.googleapis\.com\/projects\/<number>/,
  },
  {
    when: 'the project is named by its id',
    route: { audience: BY_PROJECT_ID },
    finding: 'audience_unknown',
    fix: /number of the project/,
  },
  {
    when: 'a resource is sent',
    route: { resource: 'https://github-mcp.example.com/mcp' },
    finding: 'resource_refused',
    fix: /set resource: \[\]/,
  },
  {
    when: 'the scope is missing',
    route: { scope: undefined },
    finding: 'scope_missing',
    fix: /auth\/cloud-platform/,
  },
  {
    when: 'the requested token type is missing',
    defaults: { subject_token: { type: 'jwt' } },
    finding: 'requested_token_type_required',
    fix: /access_token \(Google\)/,
  },
  {
    when: 'the type of the token is access_token',
    route: { subject_token: { type: 'access_token' } },
    finding: 'subject_token_type_refused',
    fix: /jwt \(tokendings, Google\)/,
  },
  {
    when: 'the audience of the token is not allowed by the provider',
    token: { aud: 'agent' },
    finding: 'subject_audience_refused',
    fix: /allowed audiences of the provider/,
  },
  {
    when: 'the provider is for another issuer',
    token: foreignToken({ aud: 'pool' }),
    finding: 'subject_issuer_differs',
    fix: /Google: the issuer of the provider/,
  },
  {
    when: 'the keys of the issuer are unreachable',
    rules: google(false),
    finding: 'subject_issuer_unreachable',
    fix: /reachable for the server, or upload the keys/,
  },
  {
    when: 'the attribute condition is false',
    token: { aud: 'pool', contractor: true },
    finding: 'target_not_permitted',
    fix: /condition of the provider/,
  },
]);
