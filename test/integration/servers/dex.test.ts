import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  authenticateBasic,
  requireSubjectTokenType,
  requireTokenExchange,
  singleValue,
} from '../../harness/client-authentication.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { startRecipe } from '../../harness/recipe.ts';
import { issued, OAuthError, type SimulationRules } from '../../harness/simulated-server.ts';
import { foreignToken, testMisconfigurations } from './misconfigurations.ts';

const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const PEERS = ['github-mcp'];

/** Dex: https://dexidp.io/docs/guides/token-exchange/ */
const dex: SimulationRules = {
  tokenPath: '/token',
  async token(request, server) {
    const { form } = request;
    const client = authenticateBasic(request, server);
    requireTokenExchange(form);
    requireSubjectTokenType(form, 'id_token');
    if (singleValue(form, 'connector_id') !== 'company')
      throw new OAuthError(400, 'invalid_request', 'Requested connector does not exist.');
    if ((await server.read(form.get('subject_token'))) === undefined) throw new OAuthError(401, 'access_denied');
    const peers = singleValue(form, 'scope')
      .split(' ')
      .flatMap((scope) => (scope.startsWith('audience:server:client_id:') ? [scope.slice(26)] : []));
    if (peers.some((peer) => !PEERS.includes(peer))) {
      throw new OAuthError(400, 'invalid_scope', 'Client can not request scope(s)');
    }
    // Dex ignores `resource` and `audience`.
    const aud = peers.length === 0 ? client : [...peers, client];
    return issued(await server.mint({ aud, azp: client }), {
      issued_token_type: form.get('requested_token_type') === ID_TOKEN ? ID_TOKEN : issued('').issued_token_type,
      token_type: 'bearer',
    });
  },
};

test('gets a token for the backend from Dex with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'dex', dex);
  assert.equal((await call(await server.mint({ aud: 'company' }))).status, 200);
  assert.deepEqual((received() as { aud: string[] }).aud, ['github-mcp', 'cambist']);
});

test('refuses a token of Dex that is for cambist alone', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'dex', dex);
  change({ scope: 'openid', audience: 'github-mcp', requested_token_type: 'access_token' });
  assertProblem(await call(await server.mint({ aud: 'company' })), 'ERR_ISSUED_TOKEN_AUDIENCE');
  assert.equal(upstream.requests.length, 0);
});

test('returns the refusals of Dex for another connector, an access token, an untrusting peer and an invalid token', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'dex', dex);
  // Dex returns access_denied for an invalid token.
  assertProblem(await call('made.up.token'), 'ERR_EXCHANGE_REFUSED');
  const token = await server.mint({ aud: 'company' });
  change({}, { extra_params: { connector_id: 'other' } });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ subject_token: { type: 'access_token' } });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ scope: 'openid audience:server:client_id:docs-mcp' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  assert.equal(upstream.requests.length, 0);
});

testMisconfigurations({ name: 'Dex', recipe: 'dex', rules: dex, claims: { aud: 'company' } }, [
  {
    when: 'the connector id is missing',
    server: { extra_params: {} },
    finding: 'connector_id_missing',
    fix: /authorization_servers\.dex\.extra_params: \{ connector_id:/,
  },
  {
    when: 'the connector is unknown',
    server: { extra_params: { connector_id: 'other' } },
    finding: 'connector_id_missing',
    fix: /connector that supports token exchange/,
  },
  {
    when: 'an access token is sent',
    route: { subject_token: { type: 'access_token' } },
    finding: 'subject_token_type_refused',
    fix: /id_token \(Dex\)/,
  },
  {
    when: 'the token is from another issuer than that of the connector',
    token: foreignToken({ aud: 'company' }),
    finding: 'subject_token_refused',
    fix: /issuer behind the connector/,
  },
  {
    when: 'the scope names no backend',
    route: { scope: 'openid' },
    finding: 'token_for_client',
    fix: /audience:server:client_id:<backend>/,
  },
  {
    when: 'the backend does not trust the client',
    route: { scope: 'openid audience:server:client_id:docs-mcp' },
    finding: 'scope_refused',
    fix: /trustedPeers/,
  },
]);
