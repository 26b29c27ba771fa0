import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertionClient, one, wantExchange } from '../../harness/imitated-clients.ts';
import { type ImitationRules, issued, Refused } from '../../harness/imitation.ts';
import { assertProblem } from '../../harness/problem.ts';
import { type Recipe, startRecipe } from '../../harness/recipe.ts';
import { foreignToken, testMisconfigurations } from './misconfigurations.ts';

const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const BACKEND = 'prod:tools:github-mcp';
/** The second does not let this client in. */
const APPLICATIONS = [BACKEND, 'prod:tools:closed'];

/** Tokendings: https://github.com/nais/tokendings */
const tokendings: ImitationRules = {
  tokenPath: '/token',
  async token(request, server) {
    const { form } = request;
    const { client, header } = await assertionClient(request, server, {
      audience: server.tokenEndpoint,
      algorithms: ['RS256'],
      maxLifeSeconds: 120,
      wrongAudience: new Refused(
        400,
        'invalid_request',
        'token verification failed: JWT+aud+claim+has+value+%5Bx%5D%2C+must+be+exactly+one+of+%5By%5D',
      ),
      wrongLife: new Refused(401, 'invalid_client', 'client assertion exceeded max lifetime (120s).'),
    });
    if (client !== 'prod:agents:my-agent' || header.kid !== 'tokenx') throw new Refused(401, 'invalid_client');
    wantExchange(form);
    if (one(form, 'subject_token_type') !== JWT) {
      throw new Refused(400, 'invalid_request', `Parameter subject_token_type must be ${JWT}`);
    }
    const audience = one(form, 'audience');
    if (!APPLICATIONS.includes(audience)) {
      throw new Refused(400, 'invalid_request', `token exchange audience ${audience} is invalid`);
    }
    if (audience !== BACKEND) {
      const said = `client '${client}' is not authorized to get token with aud=${audience}`;
      throw new Refused(400, 'invalid_request', said);
    }
    const subject = await server.read(form.get('subject_token'));
    if (subject === undefined) {
      const said =
        'invalid subject_token: invalid request, cannot validate token from issuer=https://other.example.com';
      throw new Refused(400, 'invalid_request', said);
    }
    return issued(await server.mint({ aud: audience, client_id: client }));
  },
};

test('the recipe for tokendings gets a token for the backend', async (t) => {
  const { server, call, received } = await startRecipe(t, 'tokendings', tokendings);
  assert.equal((await call(await server.mint({ aud: 'prod:agents:my-agent' }))).status, 200);
  assert.equal((received() as { aud: string }).aud, BACKEND);
});

test('tokendings refuses an assertion that lives too long or is for another, other audiences, and a bad token', async (t) => {
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
  for (const audience of ['prod:tools:closed', 'prod:tools:nobody']) {
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
      when: 'the assertion lives too long',
      server: assertion({ assertion_lifetime: '3m' }),
      finding: 'client_refused',
      fix: /assertion_lifetime \(tokendings accepts 120s at most\)/,
    },
    {
      when: 'the assertion is for another',
      server: assertion({ assertion_audience: 'https://elsewhere.example.com' }),
      finding: 'client_refused',
      fix: /assertion_audience to the token endpoint or to the issuer/,
    },
    {
      when: 'the token is said to be an access token',
      route: { subject_token: { type: 'access_token' } },
      finding: 'subject_token_type_refused',
      fix: /jwt \(tokendings, Google\)/,
    },
    {
      when: 'the backend does not let the application in',
      route: { audience: 'prod:tools:closed' },
      finding: 'target_not_permitted',
      fix: /add client "prod:agents:my-agent" to spec\.accessPolicy\.inbound\.rules of the application "prod:tools:closed"/,
    },
    {
      when: 'the audience is no application',
      route: { audience: 'prod:tools:nobody' },
      finding: 'audience_unknown',
      fix: /enable tokenx for the application "prod:tools:nobody"/,
    },
    {
      when: 'the token is of an issuer that is not known there',
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
