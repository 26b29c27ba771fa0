import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeJwt } from 'jose';
import {
  authenticateAssertion,
  issued,
  OAuthError,
  type Recipe,
  requireSubjectTokenType,
  requireTokenExchange,
  type SimulationRules,
  singleValue,
  startRecipe,
} from '../../harness/recipe.ts';
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

process.env.UNWANTED_SECRET = 'a-secret-that-google-does-not-want';

testMisconfigurations(
  {
    name: 'Google STS',
    recipe: 'google-sts',
    rules: google(),
    claims: { aud: 'pool' },
    invalid: [foreignToken(), 'ERR_SUBJECT_TOKEN_INVALID'],
  },
  [
    [
      'the client authenticates',
      {
        server: {
          client_id: 'cambist',
          client_auth: { method: 'client_secret_basic', client_secret: { env: 'UNWANTED_SECRET' } },
        },
      },
      'client_not_supported',
      /client_auth: \{ method: none \}, and leave client_id out/,
    ],
    [
      'a client id is sent',
      { server: { client_id: 'cambist' } },
      'client_not_supported',
      /leave client_id out/,
      'ERR_CLIENT_REFUSED',
    ],
    [
      'the audience is not a resource name',
      { route: { audience: 'agents' } },
      'audience_format',
      /audience: \/\/iam\.googleapis\.com\/projects\/<number>/,
      'ERR_CLIENT_REFUSED',
    ],
    [
      'the project is named by its id',
      { route: { audience: BY_PROJECT_ID } },
      'audience_unknown',
      /number of the project/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'a resource is sent',
      { route: { resource: 'https://github-mcp.example.com/mcp' } },
      'resource_refused',
      /set resource: \[\]/,
    ],
    ['the scope is missing', { route: { scope: undefined } }, 'scope_missing', /auth\/cloud-platform/],
    [
      'the requested token type is missing',
      { defaults: { subject_token: { type: 'jwt' } } },
      'requested_token_type_required',
      /access_token \(Google\)/,
      'ERR_CLIENT_REFUSED',
    ],
    [
      'the type of the token is access_token',
      { route: { subject_token: { type: 'access_token' } } },
      'subject_token_type_refused',
      /jwt \(tokendings, Google\)/,
    ],
    [
      'the audience of the token is not allowed by the provider',
      { token: { aud: 'agent' } },
      'subject_audience_refused',
      /allowed audiences of the provider/,
    ],
    [
      'the provider is for another issuer',
      { token: foreignToken({ aud: 'pool' }) },
      'subject_issuer_differs',
      /Google: the issuer of the provider/,
    ],
    [
      'the keys of the issuer are unreachable',
      { rules: google(false) },
      'subject_issuer_unreachable',
      /reachable for the server, or upload the keys/,
    ],
    [
      'the attribute condition is false',
      { token: { aud: 'pool', contractor: true } },
      'target_not_permitted',
      /condition of the provider/,
    ],
  ],
);

const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const BACKEND = 'prod:tools:github-mcp';
/** The second application does not authorize this client. */
const APPLICATIONS = [BACKEND, 'prod:tools:closed'];

/** Tokendings: https://github.com/nais/tokendings */
const tokendings: SimulationRules = {
  tokenPath: '/token',
  async token(request, server) {
    const { form } = request;
    const { client, header } = await authenticateAssertion(request, server, {
      audience: server.tokenEndpoint,
      algorithms: ['RS256'],
      maxLifeSeconds: 120,
      wrongAudience: new OAuthError(
        400,
        'invalid_request',
        'token verification failed: JWT+aud+claim+has+value+%5Bx%5D%2C+must+be+exactly+one+of+%5By%5D',
      ),
      wrongLife: new OAuthError(401, 'invalid_client', 'client assertion exceeded max lifetime (120s).'),
    });
    if (client !== 'prod:agents:my-agent' || header.kid !== 'tokenx') throw new OAuthError(401, 'invalid_client');
    requireTokenExchange(form);
    if (singleValue(form, 'subject_token_type') !== JWT) {
      throw new OAuthError(400, 'invalid_request', `Parameter subject_token_type must be ${JWT}`);
    }
    const audience = singleValue(form, 'audience');
    if (!APPLICATIONS.includes(audience)) {
      throw new OAuthError(400, 'invalid_request', `token exchange audience ${audience} is invalid`);
    }
    if (audience !== BACKEND) {
      const description = `client '${client}' is not authorized to get token with aud=${audience}`;
      throw new OAuthError(400, 'invalid_request', description);
    }
    const subject = await server.read(form.get('subject_token'));
    if (subject === undefined) {
      const description =
        'invalid subject_token: invalid request, cannot validate token from issuer=https://other.example.com';
      throw new OAuthError(400, 'invalid_request', description);
    }
    return issued(await server.mint({ aud: audience, client_id: client }));
  },
};

test('gets a token for the backend from tokendings with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'tokendings', tokendings);
  assert.equal((await call(await server.mint({ aud: 'prod:agents:my-agent' }))).status, 200);
  assert.equal((received() as { aud: string }).aud, BACKEND);
});

testMisconfigurations(
  {
    name: 'tokendings (NAIS)',
    recipe: 'tokendings',
    rules: tokendings,
    claims: { aud: 'prod:agents:my-agent' },
  },
  [
    [
      'the lifetime of the assertion is too long',
      { server: assertion({ assertion_lifetime: '3m' }) },
      'client_refused',
      /assertion_lifetime \(tokendings accepts 120s at most\)/,
      'ERR_CLIENT_REFUSED',
    ],
    [
      'the assertion has another audience',
      { server: assertion({ assertion_audience: 'https://elsewhere.example.com' }) },
      'client_refused',
      /assertion_audience to the token endpoint or to the issuer/,
      'ERR_CLIENT_REFUSED',
    ],
    [
      'the type of the token is access_token',
      { route: { subject_token: { type: 'access_token' } } },
      'subject_token_type_refused',
      /jwt \(tokendings, Google\)/,
    ],
    [
      'the backend does not authorize the application',
      { route: { audience: 'prod:tools:closed' } },
      'target_not_permitted',
      /add client "prod:agents:my-agent" to spec\.accessPolicy\.inbound\.rules of the application "prod:tools:closed"/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'the audience is not an application',
      { route: { audience: 'prod:tools:unknown' } },
      'audience_unknown',
      /enable tokenx for the application "prod:tools:unknown"/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'the token comes from an unknown issuer',
      { token: foreignToken() },
      'subject_issuer_differs',
      /let it trust that issuer/,
    ],
  ],
);

function assertion(keys: object) {
  return ({ config }: Recipe) => ({
    client_auth: { ...(config.authorization_servers.tokendings?.client_auth as object), ...keys },
  });
}
