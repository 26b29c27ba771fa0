import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertProblem } from '../../harness/http-call.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import {
  authenticateBasic,
  issued,
  OAuthError,
  RESOURCE,
  refuseUnless,
  requireSubject,
  requireSubjectTokenType,
  type SimulationRules,
  singleValue,
  startRecipe,
  verbatim,
} from '../../harness/recipe.ts';
import { foreignToken, testProduct } from './product.ts';

/** authentik: https://docs.goauthentik.io/add-secure-apps/providers/oauth2/ */
const authentik = (exchange = true): SimulationRules => ({
  tokenPath: '/application/o/token/',
  async token(request, server) {
    const { form } = request;
    authenticateBasic(request, server);
    refuseUnless(exchange, 'unsupported_grant_type');
    requireSubjectTokenType(form, 'access_token', 'jwt');
    refuseUnless(!form.has('resource'), 'invalid_target', 'The resource is not valid');
    await requireSubject(form, server, 'invalid_grant');
    const audience = singleValue(form, 'audience');
    refuseUnless(audience === 'github-mcp', 'invalid_target', 'The audience is not valid');
    return issued(await server.mint({ aud: audience }), { expires_in: '300', id_token: 'id-token-of-the-caller' });
  },
  // authentik serves only OpenID metadata.
  metadata: (path) => (path.startsWith('/.well-known/') ? { status: 404, body: '<html></html>' } : undefined),
});

const ofAuthentik = { rules: authentik(), claims: { aud: 'agent' }, received: { aud: 'github-mcp' } };

testProduct({ recipe: 'authentik', ...ofAuthentik }, 'authentik', {
  ERR_EXCHANGE_REFUSED: [
    ['resource_refused', { route: { resource: RESOURCE } }, /set resource: \[\]/],
    ['target_refused', { route: { audience: 'unknown' } }, /authentik: the client id of its provider/],
  ],
  doctor: [
    [
      'metadata_not_found',
      { server: ({ origin }) => ({ issuer: origin }) },
      /check authorization_servers\.authentik\.issuer/,
    ],
    ['exchange_disabled', { rules: authentik(false) }, /allow the client this grant/],
    ['subject_issuer_differs', { token: foreignToken({ aud: 'agent' }) }, /authentik: federated providers/],
  ],
});

const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const PEERS = ['github-mcp'];

/** Dex: https://dexidp.io/docs/guides/token-exchange/ */
const dex: SimulationRules = {
  tokenPath: '/token',
  async token(request, server) {
    const { form } = request;
    const client = authenticateBasic(request, server);
    requireSubjectTokenType(form, 'id_token');
    const isConnected = singleValue(form, 'connector_id') === 'company';
    refuseUnless(isConnected, 'invalid_request', 'Requested connector does not exist.');
    const subject = await server.read(form.get('subject_token'));
    refuseUnless(subject !== undefined, 'access_denied', '', 401);
    const peers = singleValue(form, 'scope')
      .split(' ')
      .flatMap((scope) => (scope.startsWith('audience:server:client_id:') ? [scope.slice(26)] : []));
    const areTrusted = peers.every((peer) => PEERS.includes(peer));
    refuseUnless(areTrusted, 'invalid_scope', 'Client can not request scope(s)');
    // Dex ignores `resource` and `audience`.
    const aud = peers.length === 0 ? client : [...peers, client];
    return issued(await server.mint({ aud, azp: client }), {
      issued_token_type: form.get('requested_token_type') === ID_TOKEN ? ID_TOKEN : issued('').issued_token_type,
      token_type: 'bearer',
    });
  },
};

const ofDex = { recipe: 'dex', rules: dex, claims: { aud: 'company' }, received: { aud: ['github-mcp', 'cambist'] } };

testProduct({ ...ofDex, invalid: ['made.up.token', 'ERR_EXCHANGE_REFUSED'] }, 'Dex', {
  ERR_CLIENT_REFUSED: [
    ['request_refused', { server: { extra_params: { connector_id: 'other' } } }, /common-mistakes\.md/],
    ['subject_token_type_refused', { route: { subject_token: { type: 'access_token' } } }, /id_token \(Dex\)/],
  ],
  ERR_EXCHANGE_REFUSED: [
    ['scope_refused', { route: { scope: 'openid audience:server:client_id:docs-mcp' } }, /trustedPeers/],
  ],
  doctor: [
    ['request_refused', { server: { extra_params: {} } }, /common-mistakes\.md/],
    ['subject_issuer_differs', { token: foreignToken({ aud: 'company' }) }, /Dex: the connector/],
    ['token_for_client', { route: { scope: 'openid' } }, /audience:server:client_id:<backend>/],
  ],
});

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const LEAKED = 'refresh-token-of-alice-0123456789abcdef';

/** The claims of a token that was issued to cambist itself. LemonLDAP::NG accepts no other. */
const CLAIMS = { aud: 'cambist', client_id: 'cambist' };

/** LemonLDAP::NG: https://lemonldap-ng.org/documentation/latest/idpopenidconnect.html */
const lemonldap: SimulationRules = {
  tokenPath: '/oauth2/token',
  async token(request, server) {
    const { form } = request;
    const client = authenticateBasic(request, server, verbatim);
    const subject = await server.read(form.get('subject_token'));
    const types = ['subject_token_type', 'requested_token_type'].map((name) => form.get(name) ?? ACCESS_TOKEN);
    const fits = types.every((type) => type === ACCESS_TOKEN) && form.getAll('audience').join() === 'github-mcp';
    // LemonLDAP::NG gives no reason.
    refuseUnless(subject?.client_id === client && fits, 'invalid_request');
    if (subject.gone === true) {
      throw new OAuthError(400, 'invalid_grant', `token ${LEAKED}`, { refresh_token: LEAKED });
    }
    const { issued_token_type: _none, ...response } = issued(await server.mint({ aud: ['github-mcp'] }));
    return { ...response, refresh_token: LEAKED, id_token: LEAKED };
  },
  // The metadata path of RFC 8414 returns the portal with status 200.
  metadata: (path) =>
    path.startsWith('/.well-known/oauth-authorization-server')
      ? { status: 200, body: '<html>portal</html>' }
      : undefined,
};

function assertUnseen(texts: Record<string, string>): void {
  const leaks = createLeakWatch();
  leaks.remember(LEAKED);
  leaks.assertNoLeak(texts);
}

test('gets a token for the backend from LemonLDAP::NG with its recipe, and drops the other tokens', async (t) => {
  const { app, server, call, received } = await startRecipe(t, 'lemonldap', lemonldap);
  const response = await call(await server.mint(CLAIMS));
  assert.equal(response.status, 200);
  assert.deepEqual((received() as { aud: string[] }).aud, ['github-mcp']);
  assertUnseen({ log: app.logText(), response: response.text, metrics: await app.metrics() });
});

test('keeps a token in an error of LemonLDAP::NG out of the log and the response', async (t) => {
  const { app, server, call, upstream } = await startRecipe(t, 'lemonldap', lemonldap);
  const response = await call(await server.mint({ ...CLAIMS, gone: true }));
  assertProblem(response, 'ERR_SUBJECT_TOKEN_INVALID');
  assert.equal(upstream.requests.length, 0);
  assertUnseen({ log: app.logText(), response: response.text });
});

testProduct({ recipe: 'lemonldap', rules: lemonldap, claims: CLAIMS }, 'LemonLDAP::NG', {
  ERR_SUBJECT_TOKEN_INVALID: [['subject_token_refused', { route: { audience: 'docs-mcp' } }, /obtain a new one/]],
  doctor: [
    [
      'client_refused',
      { rules: { ...lemonldap, clientSecret: 'a+secret/with%signs' }, clientAuth: { basic_encoding: 'form' } },
      /change authorization_servers\.lemonldap\.client_auth\.basic_encoding/,
    ],
    [
      'subject_token_refused',
      { token: { aud: 'agent', client_id: 'agent' } },
      /the audience of the tokens that callers sign in for/,
    ],
  ],
});

const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const CAMBIST = '268000000000000001';
const BACKEND = '268000000000000002';

/** ZITADEL: https://zitadel.com/docs/guides/integrate/token-exchange */
const zitadel: SimulationRules = {
  tokenPath: '/oauth/v2/token',
  async token(request, server) {
    const { form } = request;
    const client = authenticateBasic(request, server);
    requireSubjectTokenType(form, 'access_token', 'id_token', 'jwt');
    refuseUnless(!form.has('resource'), 'invalid_target', 'resource parameter not supported');
    const subject = await requireSubject(form, server, 'invalid_request', 'subject_token invalid');
    const audiences = [subject.aud ?? []].flat();
    refuseUnless(audiences.includes(client), 'invalid_request', 'subject_token invalid');
    // ZITADEL takes a token of type jwt as impersonation.
    const hasActor = form.get('subject_token_type') !== JWT || form.has('actor_token');
    refuseUnless(hasActor, 'invalid_request', 'actor_token invalid');
    const audience = singleValue(form, 'audience');
    const unknown = `audience "${audience}" not found in subject or actor token`;
    refuseUnless(audiences.includes(audience), 'invalid_target', unknown);
    if (form.get('requested_token_type') !== JWT) return issued('opaque-token-of-zitadel');
    return issued(await server.mint({ aud: [audience] }), { issued_token_type: JWT });
  },
};

test('forwards an opaque token, which ZITADEL issues unless a JWT is requested', async (t) => {
  const { app, config, server, call, received } = await startRecipe(t, 'zitadel', zitadel);
  app.reloadTo({ ...config, defaults: {} });
  assert.equal((await call(await server.mint({ aud: [CAMBIST, BACKEND] }))).status, 200);
  assert.equal(received(), 'opaque-token-of-zitadel');
});

const ofZitadel = { rules: zitadel, claims: { aud: [CAMBIST, BACKEND] }, received: { aud: [BACKEND] } };

testProduct({ recipe: 'zitadel', ...ofZitadel }, 'ZITADEL', {
  ERR_EXCHANGE_REFUSED: [
    ['resource_refused', { route: { resource: RESOURCE } }, /set resource: \[\]/],
    ['target_refused', { token: { aud: [CAMBIST] } }, /allow this client to request it/],
  ],
  doctor: [
    ['subject_token_refused', { token: { aud: [BACKEND] } }, /audience of the tokens that callers sign in for/],
    ['token_opaque', { defaults: {} }, /ZITADEL: also requested_token_type: jwt/],
    [
      'actor_token_refused',
      { route: { subject_token: { type: 'jwt' } } },
      /ZITADEL: only if subject_token\.type is jwt/,
    ],
  ],
});
