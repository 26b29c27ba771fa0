import { decodeJwt } from 'jose';
import {
  authenticateAssertion,
  issued,
  OAuthError,
  RESOURCE,
  refuseUnless,
  requireSubject,
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
const AS_ACCESS_TOKEN = { route: { subject_token: { type: 'access_token' } } };
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

const FEDERATED = 'ya29.d.federated-token-of-google';

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
    const audience = singleValue(form, 'audience');
    const malformed =
      'Invalid value for "audience". This value should be the full resource name of the Identity Provider.';
    refuseUnless(RESOURCE_NAME.test(audience), 'invalid_request', malformed);
    const requested = form.get('requested_token_type');
    refuseUnless(requested === ACCESS_TOKEN, 'invalid_request', 'Invalid value of requested_token_type in request.');
    requireSubjectTokenType(form, 'jwt', 'id_token');
    refuseUnless(form.has('scope'), 'invalid_request', 'Scope(s) must be provided.');
    JSON.parse(form.get('options') ?? '{}');
    const unknown =
      'The target service indicated by the "audience" parameters is invalid. This might either be because the pool or ' +
      "provider is disabled or deleted or because it doesn't exist.";
    refuseUnless(audience === PROVIDER, 'invalid_target', unknown);
    const stated = claimsIn(singleValue(form, 'subject_token'));
    refuseUnless(stated !== undefined, 'invalid_request', 'Unable to parse the ID Token.');
    const differs = `The issuer in ID Token ${stated.iss} does not match the expected ones.`;
    refuseUnless(stated.iss === server.issuer, 'invalid_grant', differs);
    refuseUnless(reachable, 'invalid_grant', "Error connecting to the given credential's issuer.");
    const subject = await requireSubject(form, server, 'invalid_grant', 'Unable to verify the ID Token signature.');
    const other = `The audience in ID Token [${subject.aud}] does not match the expected audience.`;
    refuseUnless(subject.aud === 'pool', 'invalid_grant', other);
    const rejected = 'The given credential is rejected by the attribute condition.';
    refuseUnless(subject.contractor !== true, 'unauthorized_client', rejected);
    return issued(FEDERATED, { expires_in: 3599 });
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
const withSecret = { method: 'client_secret_basic', client_secret: { env: 'UNWANTED_SECRET' } };

const ofGoogle = { recipe: 'google-sts', rules: google(), claims: { aud: 'pool' }, received: FEDERATED };

testProduct({ ...ofGoogle, invalid: [foreignToken(), 'ERR_SUBJECT_TOKEN_INVALID'] }, 'Google STS', {
  ERR_CLIENT_REFUSED: [
    ['client_refused', { server: { client_id: 'cambist' } }, /leave client_id out/],
    ['target_refused', { route: { audience: 'agents' } }, /full resource name of the provider/],
    ['requested_token_type_refused', { defaults: { subject_token: { type: 'jwt' } } }, /access_token \(Google\)/],
  ],
  ERR_EXCHANGE_REFUSED: [['target_refused', { route: { audience: BY_PROJECT_ID } }, /project's number/]],
  doctor: [
    [
      'client_refused',
      { server: { client_id: 'cambist', client_auth: withSecret } },
      /client_auth: \{ method: none \}, and leave client_id out/,
    ],
    ['resource_refused', { route: { resource: RESOURCE } }, /set resource: \[\]/],
    ['scope_missing', { route: { scope: undefined } }, /auth\/cloud-platform/],
    ['subject_token_type_refused', AS_ACCESS_TOKEN, /jwt \(tokendings, Google\)/],
    ['subject_token_refused', { token: { aud: 'agent' } }, /the audience of the tokens/],
    ['subject_issuer_differs', { token: foreignToken({ aud: 'pool' }) }, /Google: the issuer of the provider/],
    ['subject_token_refused', { rules: google(false) }, /obtain a new one/],
    ['target_not_permitted', { token: { aud: 'pool', contractor: true } }, /attribute condition of the provider/],
  ],
});

const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const BACKEND = 'prod:tools:github-mcp';
/** The second application does not authorize this client. */
const APPLICATIONS = [BACKEND, 'prod:tools:closed'];

/** Tokendings: https://github.com/nais/tokendings */
const tokendings: SimulationRules = {
  tokenPath: '/token',
  async token(request, server) {
    const { form } = request;
    const wrongAudience =
      'token verification failed: JWT+aud+claim+has+value+%5Bx%5D%2C+must+be+exactly+one+of+%5By%5D';
    const { client, header } = await authenticateAssertion(request, server, {
      audience: server.tokenEndpoint,
      algorithms: ['RS256'],
      maxLifeSeconds: 120,
      wrongAudience: new OAuthError(400, 'invalid_request', wrongAudience),
      wrongLife: new OAuthError(401, 'invalid_client', 'client assertion exceeded max lifetime (120s).'),
    });
    refuseUnless(client === 'prod:agents:my-agent' && header.kid === 'tokenx', 'invalid_client', '', 401);
    requireTokenExchange(form);
    const isJwt = singleValue(form, 'subject_token_type') === JWT;
    refuseUnless(isJwt, 'invalid_request', `Parameter subject_token_type must be ${JWT}`);
    const audience = singleValue(form, 'audience');
    const isKnown = APPLICATIONS.includes(audience);
    refuseUnless(isKnown, 'invalid_request', `token exchange audience ${audience} is invalid`);
    const denied = `client '${client}' is not authorized to get token with aud=${audience}`;
    refuseUnless(audience === BACKEND, 'invalid_request', denied);
    const invalid =
      'invalid subject_token: invalid request, cannot validate token from issuer=https://other.example.com';
    await requireSubject(form, server, 'invalid_request', invalid);
    return issued(await server.mint({ aud: audience, client_id: client }));
  },
};

const claims = { aud: 'prod:agents:my-agent' };

testProduct({ recipe: 'tokendings', rules: tokendings, claims, received: { aud: BACKEND } }, 'tokendings (NAIS)', {
  ERR_CLIENT_REFUSED: [
    [
      'client_refused',
      { clientAuth: { assertion_lifetime: '3m' } },
      /accepts the assertion_audience and assertion_lifetime/,
    ],
    [
      'client_refused',
      { clientAuth: { assertion_audience: 'https://elsewhere.example.com' } },
      /assertion_audience to the token endpoint or to the issuer/,
    ],
  ],
  ERR_EXCHANGE_REFUSED: [
    [
      'target_not_permitted',
      { route: { audience: 'prod:tools:closed' } },
      /allow it for client "prod:agents:my-agent" .*spec\.accessPolicy\.inbound\.rules of the backend/,
    ],
    ['target_refused', { route: { audience: 'prod:tools:unknown' } }, /<cluster>:<namespace>:<application>/],
  ],
  doctor: [
    ['subject_token_type_refused', AS_ACCESS_TOKEN, /jwt \(tokendings, Google\)/],
    ['subject_issuer_differs', { token: foreignToken() }, /let it trust that issuer/],
  ],
});
