import { decodeJwt } from 'jose';
import {
  authenticateAssertion,
  issued,
  OAuthError,
  RESOURCE,
  requireSubjectTokenType,
  requireTokenExchange,
  type SimulationRules,
  singleValue,
} from '../../harness/recipe.ts';
import { foreignToken, testProduct } from './product.ts';

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

process.env.UNWANTED_SECRET = 'a-secret-that-google-does-not-want';

testProduct(
  {
    name: 'Google STS',
    recipe: 'google-sts',
    rules: google(),
    invalid: [foreignToken(), 'ERR_SUBJECT_TOKEN_INVALID'],
  },
  { aud: 'pool' },
  'ya29.d.federated-token-of-google',
  [
    [
      'client_refused',
      {
        server: {
          client_id: 'cambist',
          client_auth: { method: 'client_secret_basic', client_secret: { env: 'UNWANTED_SECRET' } },
        },
      },
      /client_auth: \{ method: none \}, and leave client_id out/,
    ],
    ['client_refused', { server: { client_id: 'cambist' } }, /leave client_id out/, 'ERR_CLIENT_REFUSED'],
    ['target_refused', { route: { audience: 'agents' } }, /full resource name of the provider/, 'ERR_CLIENT_REFUSED'],
    ['target_refused', { route: { audience: BY_PROJECT_ID } }, /project's number/, 'ERR_EXCHANGE_REFUSED'],
    ['resource_refused', { route: { resource: RESOURCE } }, /set resource: \[\]/],
    ['scope_missing', { route: { scope: undefined } }, /auth\/cloud-platform/],
    [
      'requested_token_type_refused',
      { defaults: { subject_token: { type: 'jwt' } } },
      /access_token \(Google\)/,
      'ERR_CLIENT_REFUSED',
    ],
    [
      'subject_token_type_refused',
      { route: { subject_token: { type: 'access_token' } } },
      /jwt \(tokendings, Google\)/,
    ],
    ['subject_token_refused', { token: { aud: 'agent' } }, /the audience of the tokens/],
    ['subject_issuer_differs', { token: foreignToken({ aud: 'pool' }) }, /Google: the issuer of the provider/],
    ['subject_token_refused', { rules: google(false) }, /obtain a new one/],
    ['target_not_permitted', { token: { aud: 'pool', contractor: true } }, /attribute condition of the provider/],
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

testProduct(
  { name: 'tokendings (NAIS)', recipe: 'tokendings', rules: tokendings },
  { aud: 'prod:agents:my-agent' },
  { aud: BACKEND },
  [
    [
      'client_refused',
      { clientAuth: { assertion_lifetime: '3m' } },
      /accepts the assertion_audience and assertion_lifetime/,
      'ERR_CLIENT_REFUSED',
    ],
    [
      'client_refused',
      { clientAuth: { assertion_audience: 'https://elsewhere.example.com' } },
      /assertion_audience to the token endpoint or to the issuer/,
      'ERR_CLIENT_REFUSED',
    ],
    [
      'subject_token_type_refused',
      { route: { subject_token: { type: 'access_token' } } },
      /jwt \(tokendings, Google\)/,
    ],
    [
      'target_not_permitted',
      { route: { audience: 'prod:tools:closed' } },
      /allow it for client "prod:agents:my-agent" .*spec\.accessPolicy\.inbound\.rules of the backend/,
      'ERR_EXCHANGE_REFUSED',
    ],
    [
      'target_refused',
      { route: { audience: 'prod:tools:unknown' } },
      /<cluster>:<namespace>:<application>/,
      'ERR_EXCHANGE_REFUSED',
    ],
    ['subject_issuer_differs', { token: foreignToken() }, /let it trust that issuer/],
  ],
);
