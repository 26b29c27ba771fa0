import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asItIs, basicClient, wantExchange } from '../../harness/imitated-clients.ts';
import { type ImitationRules, issued, Refused } from '../../harness/imitation.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { assertProblem } from '../../harness/problem.ts';
import { startRecipe } from '../../harness/recipe.ts';
import { testMisconfigurations } from './misconfigurations.ts';

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const LEAKED = 'refresh-token-of-somebody-0123456789abcdef';

/** Of a token that it issued to cambist itself, and takes from nobody else. */
const CLAIMS = { aud: 'cambist', client_id: 'cambist' };

/** LemonLDAP::NG: https://lemonldap-ng.org/documentation/latest/idpopenidconnect.html */
const lemonldap: ImitationRules = {
  tokenPath: '/oauth2/token',
  async token(request, server) {
    const { form } = request;
    const client = basicClient(request, server, asItIs);
    wantExchange(form);
    const subject = await server.read(form.get('subject_token'));
    const types = ['subject_token_type', 'requested_token_type'].map((name) => form.get(name) ?? ACCESS_TOKEN);
    const fits = types.every((type) => type === ACCESS_TOKEN) && form.getAll('audience').join() === 'github-mcp';
    // Whatever it does not like, it says no more.
    if (subject?.client_id !== client || !fits) throw new Refused(400, 'invalid_request');
    if (subject.gone === true) {
      throw new Refused(400, 'invalid_grant', `token ${LEAKED}`, { refresh_token: LEAKED });
    }
    const { issued_token_type: _none, ...answer } = issued(await server.mint({ aud: ['github-mcp'] }));
    return { ...answer, refresh_token: LEAKED, id_token: LEAKED };
  },
  // The place of RFC 8414 has its portal, with 200.
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

test('the recipe for LemonLDAP::NG gets a token for the backend, and drops what comes beside it', async (t) => {
  const { app, server, call, received } = await startRecipe(t, 'lemonldap', lemonldap);
  const answered = await call(await server.mint(CLAIMS));
  assert.equal(answered.status, 200);
  assert.deepEqual((received() as { aud: string[] }).aud, ['github-mcp']);
  assertUnseen({ log: app.logText(), answer: answered.text, metrics: await app.metrics() });
});

test('a token in the error of LemonLDAP::NG goes no further', async (t) => {
  const { app, server, call, upstream } = await startRecipe(t, 'lemonldap', lemonldap);
  const answered = await call(await server.mint({ ...CLAIMS, gone: true }));
  assertProblem(answered, 'ERR_SUBJECT_TOKEN_INVALID');
  assert.equal(upstream.requests.length, 0);
  assertUnseen({ log: app.logText(), answer: answered.text });
});

test('LemonLDAP::NG refuses two audiences, and a backend that does not list cambist, as if it were for the token', async (t) => {
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
