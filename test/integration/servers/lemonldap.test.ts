import assert from 'node:assert/strict';
import { test } from 'node:test';
import { authenticateBasic, requireTokenExchange, verbatim } from '../../harness/client-authentication.ts';
import { assertProblem } from '../../harness/http-call.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { startRecipe } from '../../harness/recipe.ts';
import { issued, OAuthError, type SimulationRules } from '../../harness/simulated-server.ts';
import { testMisconfigurations } from './misconfigurations.ts';

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
    requireTokenExchange(form);
    const subject = await server.read(form.get('subject_token'));
    const types = ['subject_token_type', 'requested_token_type'].map((name) => form.get(name) ?? ACCESS_TOKEN);
    const fits = types.every((type) => type === ACCESS_TOKEN) && form.getAll('audience').join() === 'github-mcp';
    // LemonLDAP::NG gives no reason.
    if (subject?.client_id !== client || !fits) throw new OAuthError(400, 'invalid_request');
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

test('returns ERR_SUBJECT_TOKEN_INVALID for two audiences and for a backend that does not list cambist', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'lemonldap', lemonldap);
  const token = await server.mint(CLAIMS);
  for (const audience of [['github-mcp', 'docs-mcp'], 'docs-mcp']) {
    change({ audience });
    assertProblem(await call(token), 'ERR_SUBJECT_TOKEN_INVALID');
  }
  assert.equal(upstream.requests.length, 0);
});

testMisconfigurations({ name: 'LemonLDAP::NG', recipe: 'lemonldap', rules: lemonldap, claims: CLAIMS }, [
  {
    when: 'the secret is sent percent-encoded',
    rules: { ...lemonldap, clientSecret: 'a+secret/with%signs' },
    server: ({ config }) => ({
      client_auth: { ...(config.authorization_servers.lemonldap?.client_auth as object), basic_encoding: 'form' },
    }),
    finding: 'client_basic_encoding',
    fix: /basic_encoding: raw/,
  },
  {
    when: 'the token was issued to another client',
    token: { aud: 'agent', client_id: 'agent' },
    finding: 'subject_of_other_client',
    fix: /sign its users in with client "cambist"/,
  },
  {
    when: 'the backend does not list the client',
    route: { audience: 'docs-mcp' },
    finding: 'refused_without_reason',
    fix: /list "cambist" among .* client id is "docs-mcp"/,
  },
]);
