import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asItIs, basicClient, one, wantExchange, wantSubjectType } from '../../harness/imitated-clients.ts';
import { type ImitationRules, issued, Refused } from '../../harness/imitation.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { assertProblem } from '../../harness/problem.ts';
import { startRecipe } from '../../harness/recipe.ts';

const LEAKED = 'refresh-token-of-somebody-0123456789abcdef';

/** LemonLDAP::NG: https://lemonldap-ng.org/documentation/latest/idpopenidconnect.html */
const lemonldap: ImitationRules = {
  tokenPath: '/oauth2/token',
  async token(request, server) {
    const { form } = request;
    basicClient(request, server, asItIs);
    wantExchange(form);
    wantSubjectType(form, 'access_token');
    if ((await server.read(form.get('subject_token'))) === undefined) {
      throw new Refused(400, 'invalid_grant', `token ${LEAKED}`, { refresh_token: LEAKED });
    }
    if (one(form, 'audience') !== 'github-mcp') throw new Refused(400, 'invalid_target');
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
  const answered = await call(await server.mint({ aud: 'agent' }));
  assert.equal(answered.status, 200);
  assert.deepEqual((received() as { aud: string[] }).aud, ['github-mcp']);
  assertUnseen({ log: app.logText(), answer: answered.text, metrics: await app.metrics() });
});

test('a token in the error of LemonLDAP::NG goes no further', async (t) => {
  const { app, call, upstream } = await startRecipe(t, 'lemonldap', lemonldap);
  const answered = await call('made.up.token');
  assertProblem(answered, 'ERR_SUBJECT_TOKEN_INVALID');
  assert.equal(upstream.requests.length, 0);
  assertUnseen({ log: app.logText(), answer: answered.text });
});

test('LemonLDAP::NG refuses two audiences, and a backend that does not list cambist', async (t) => {
  const { server, call, change } = await startRecipe(t, 'lemonldap', lemonldap);
  const token = await server.mint({ aud: 'agent' });
  change({ audience: ['github-mcp', 'docs-mcp'] });
  assertProblem(await call(token), 'ERR_CLIENT_REFUSED');
  change({ audience: 'docs-mcp' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
});
