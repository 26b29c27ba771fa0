import assert from 'node:assert/strict';
import { test } from 'node:test';
import { authenticateAssertion, requireTokenExchange, singleValue } from '../../harness/client-authentication.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { type Recipe, startRecipe } from '../../harness/recipe.ts';
import { issued, OAuthError, type SimulationRules } from '../../harness/simulated-server.ts';
import { foreignToken, testMisconfigurations } from './misconfigurations.ts';

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

test('returns the refusals of tokendings for invalid assertions, audiences and tokens', async (t) => {
  const { server, call, change, config, upstream } = await startRecipe(t, 'tokendings', tokendings);
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  const token = await server.mint({ aud: 'prod:agents:my-agent' });
  const auth = config.authorization_servers.tokendings?.client_auth as object;
  change({}, { client_auth: { ...auth, assertion_lifetime: '3m' } });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({}, { client_auth: { ...auth, assertion_audience: 'https://elsewhere' } });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ audience: [BACKEND, 'prod:tools:docs-mcp'] });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  for (const audience of ['prod:tools:closed', 'prod:tools:unknown']) {
    change({ audience });
    assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  }
  assert.equal(upstream.requests.length, 0);
});

testMisconfigurations(
  {
    name: 'tokendings (NAIS)',
    recipe: 'tokendings',
    rules: tokendings,
    claims: { aud: 'prod:agents:my-agent' },
  },
  [
    {
      when: 'the lifetime of the assertion is too long',
      server: assertion({ assertion_lifetime: '3m' }),
      finding: 'client_refused',
      fix: /assertion_lifetime \(tokendings accepts 120s at most\)/,
    },
    {
      when: 'the assertion has another audience',
      server: assertion({ assertion_audience: 'https://elsewhere.example.com' }),
      finding: 'client_refused',
      fix: /assertion_audience to the token endpoint or to the issuer/,
    },
    {
      when: 'the type of the token is access_token',
      route: { subject_token: { type: 'access_token' } },
      finding: 'subject_token_type_refused',
      fix: /jwt \(tokendings, Google\)/,
    },
    {
      when: 'the backend does not authorize the application',
      route: { audience: 'prod:tools:closed' },
      finding: 'target_not_permitted',
      fix: /add client "prod:agents:my-agent" to spec\.accessPolicy\.inbound\.rules of the application "prod:tools:closed"/,
    },
    {
      when: 'the audience is not an application',
      route: { audience: 'prod:tools:unknown' },
      finding: 'audience_unknown',
      fix: /enable tokenx for the application "prod:tools:unknown"/,
    },
    {
      when: 'the token comes from an unknown issuer',
      token: foreignToken(),
      finding: 'subject_issuer_differs',
      fix: /let it trust that issuer/,
    },
  ],
);

function assertion(keys: object) {
  return ({ config }: Recipe) => ({
    client_auth: { ...(config.authorization_servers.tokendings?.client_auth as object), ...keys },
  });
}
