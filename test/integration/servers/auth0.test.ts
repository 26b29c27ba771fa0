import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { legacyCall } from '../../harness/consent.ts';
import { eventually } from '../../harness/eventually.ts';
import { echo, respond } from '../../harness/fake-upstream.ts';
import { assertProblem, call } from '../../harness/http-call.ts';
import {
  authenticatePost,
  issued,
  refuseUnless,
  requireSubject,
  requireSubjectTokenType,
  requireTokenExchange,
  type SimulationRules,
  singleValue,
  startRecipe,
} from '../../harness/recipe.ts';
import { words } from '../../harness/words.ts';
import { testProduct } from './product.ts';

const API = 'https://github-mcp.example.com';

/** Auth0: https://auth0.com/docs/authenticate/custom-token-exchange */
const auth0 = ({ exchange = true, grant = true } = {}): SimulationRules => ({
  tokenPath: '/oauth/token',
  async token(request, server) {
    const { form } = request;
    authenticatePost(request, server);
    requireTokenExchange(form);
    const disabled = `Grant type '${form.get('grant_type')}' not allowed for the client.`;
    refuseUnless(exchange, 'unauthorized_client', disabled, 403);
    requireSubjectTokenType(form, 'urn:example:agent-token');
    for (const name of ['requested_token_type', 'resource']) {
      refuseUnless(!form.has(name), 'invalid_request', `${name} is not allowed`);
    }
    const audience = singleValue(form, 'audience');
    refuseUnless(audience === API, 'access_denied', `Service not found: ${audience}`, 403);
    refuseUnless(grant, 'access_denied', `Client is not authorized to access "${audience}".`, 403);
    await requireSubject(form, server, 'invalid_request', 'Invalid subject token');
    return issued(await server.mint({ aud: API }), { id_token: 'id-token-of-the-caller', scope: 'repo:read' });
  },
});

const ofAuth0 = { recipe: 'auth0', rules: auth0(), claims: { aud: 'agent' }, received: { aud: API } };

testProduct(ofAuth0, 'Auth0', {
  ERR_CLIENT_REFUSED: [
    [
      'subject_token_type_refused',
      { route: { subject_token: { type: 'access_token' } } },
      /custom URN of a token exchange profile \(Auth0\)/,
    ],
    [
      'requested_token_type_refused',
      { route: { requested_token_type: 'access_token' } },
      /leave the route's requested_token_type out/,
    ],
  ],
  ERR_EXCHANGE_REFUSED: [
    [
      'audience_unknown',
      { route: { audience: 'https://unknown.example.com' } },
      /an API \(Auth0\) named "https:\/\/unknown\.example\.com"/,
    ],
  ],
  doctor: [
    [
      'issuer_mismatch',
      { server: ({ issuer }) => ({ issuer: issuer.slice(0, -1) }) },
      /set authorization_servers\.auth0\.issuer to "http.*\/"/,
    ],
    ['exchange_disabled', { rules: auth0({ exchange: false }) }, /allow the client this grant/],
    [
      'target_not_permitted',
      { rules: auth0({ grant: false }) },
      /allow it for client "cambist-at-auth0" .*a grant of the application for the API/,
    ],
  ],
});

const GRANT = 'urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token';
const TYPE = 'http://auth0.com/oauth/token-type/federated-connection-access-token';
const VAULT_API = 'https://agent.example.com';

/** The parameters that Auth0 documents for this grant. Auth0 ignores others, but cambist must not need them. */
const KNOWN = words(`
  grant_type client_id client_secret subject_token subject_token_type requested_token_type connection login_hint
`);

/** @param more fields that the response has beside the token */
const vaultOf = (more: Record<string, unknown> = { expires_in: 3600, scope: 'repo' }) => ({
  grant: true,
  enabled: true,
  /** The tokens of the other company, by user. */
  accounts: new Map([['alice', 'gho_of-alice']]),
  more,
});

/** Auth0: https://auth0.com/docs/api/authentication/token-vault-token-exchange/get-token */
const tokenVault = (vault = vaultOf()): SimulationRules => ({
  tokenPath: '/oauth/token',
  async token(request, server) {
    const { form } = request;
    authenticatePost(request, server);
    const isAllowed = singleValue(form, 'grant_type') === GRANT && vault.grant;
    const disabled = `Grant type '${form.get('grant_type')}' not allowed for the client.`;
    refuseUnless(isAllowed, 'unauthorized_client', disabled, 403);
    const unknown = [...form.keys()].find((name) => !KNOWN.includes(name));
    refuseUnless(unknown === undefined, 'invalid_request', `${unknown} is not allowed`);
    refuseUnless(singleValue(form, 'requested_token_type') === TYPE, 'invalid_request');
    requireSubjectTokenType(form, 'access_token', 'refresh_token');
    const isEnabled = vault.enabled && singleValue(form, 'connection') === 'github';
    refuseUnless(isEnabled, 'invalid_request', 'Token Vault is not enabled for the provided connection');
    const subject = await server.read(singleValue(form, 'subject_token'));
    refuseUnless(subject?.aud === VAULT_API, 'invalid_request', 'Invalid subject_token');
    const token = vault.accounts.get(subject.sub ?? '');
    const missing = 'Federated connection Refresh Token not found.';
    refuseUnless(token !== undefined, 'federated_connection_refresh_token_not_found', missing, 401);
    return { access_token: token, issued_token_type: TYPE, token_type: 'Bearer', ...vault.more };
  },
});

async function startVault(t: TestContext, vault = vaultOf()) {
  const recipe = await startRecipe(t, 'auth0-token-vault', tokenVault(vault));
  const bearerOf = async (sub = 'alice') => `Bearer ${await recipe.server.mint({ aud: VAULT_API, sub })}`;
  const sendAs = (authorization: string) => {
    const { headers, body } = legacyCall();
    return call(`${recipe.app.url}/github`, { headers: { ...headers, authorization }, body });
  };
  const send = async (sub?: string) => sendAs(await bearerOf(sub));
  return { ...recipe, vault, bearerOf, send, sendAs };
}

test('gets the token of another company from Auth0 with its recipe', async (t) => {
  const { send, received, server } = await startVault(t);
  assert.equal((await send()).status, 200);
  assert.equal(received(), 'gho_of-alice');
  const sent = [...new Set(server.requests[0]?.form.keys())];
  assert.deepEqual(sent.sort(), KNOWN.filter((name) => name !== 'login_hint').sort());
});

test('connects and lists without a user', async (t) => {
  const { call: list, received, server } = await startVault(t);
  assert.equal((await list('of-no-account')).status, 200);
  assert.equal(received(), 'token-of-the-workload');
  assert.equal(server.requests.length, 0);
});

test('sends a user who has not connected the account to consent_url, and then succeeds', async (t) => {
  const { send, vault, received } = await startVault(t);
  const { status, text } = await send('bob');
  const { error } = JSON.parse(text);
  assert.deepEqual([status, error.code], [200, -32042]);
  assert.equal(error.data.elicitations[0].url, 'https://app.example.com/connect/github');
  vault.accounts.set('bob', 'gho_of-bob');
  assert.equal((await send('bob')).status, 200);
  assert.equal(received(), 'gho_of-bob');
});

test('reuses a token without an expiry for a minute at most, and only for its caller', async (t) => {
  const { sendAs, server, received, vault, bearerOf } = await startVault(t, vaultOf({}));
  vault.accounts.set('bob', 'gho_of-bob');
  const callers = { alice: await bearerOf(), bob: await bearerOf('bob') };
  for (const user of ['alice', 'bob', 'alice', 'bob'] as const) {
    assert.equal((await sendAs(callers[user])).status, 200);
    assert.equal(received(), `gho_of-${user}`);
  }
  assert.equal(server.requests.length, 2);
});

test('replaces a token that the other company revoked, and asks the user if the vault has no other', async (t) => {
  const { send, sendAs, bearerOf, upstream, vault, received } = await startVault(t);
  const alice = await bearerOf();
  assert.equal((await sendAs(alice)).status, 200);

  const revoked = new Set(['Bearer gho_of-alice']);
  upstream.handler = (request, response) =>
    revoked.has(request.authorization[0] ?? '')
      ? respond(401, 'Bad credentials')(request, response)
      : echo(request, response);
  vault.accounts.set('alice', 'gho_new');
  assert.equal((await sendAs(alice)).status, 200);
  assert.equal(received(), 'gho_new');

  vault.accounts.delete('alice');
  revoked.add('Bearer gho_new');
  // A token that replaced another a moment ago is not replaced again at once.
  await eventually('the user is asked', async () => (await send()).text.includes('connect/github'));
});

test('returns the refusals of Auth0', async (t) => {
  const { sendAs, server, upstream, vault, send } = await startVault(t);
  assertProblem(await sendAs('Bearer made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  assertProblem(await sendAs(`Bearer ${await server.mint({ aud: 'other' })}`), 'ERR_SUBJECT_TOKEN_INVALID');
  vault.grant = false;
  assertProblem(await send(), 'ERR_CLIENT_REFUSED');
  assert.equal(upstream.requests.length, 0);
});

const ofVault = { recipe: 'auth0-token-vault', rules: tokenVault(), claims: { aud: VAULT_API } };

testProduct({ ...ofVault, invalid: false }, 'Auth0 Token Vault', {
  doctor: [
    ['exchange_disabled', { rules: tokenVault({ ...vaultOf(), grant: false }) }, /allow the client this grant/],
    [
      'connection_refused_by_vault',
      { rules: tokenVault({ ...vaultOf(), enabled: false }) },
      /Connected Accounts for Token Vault/,
    ],
    ['user_consent_missing', { rules: tokenVault({ ...vaultOf(), accounts: new Map() }) }, /consent_url/],
  ],
});
