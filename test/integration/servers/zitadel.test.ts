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
import { testMisconfigurations } from './misconfigurations.ts';

const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const CAMBIST = '268000000000000001';
const BACKEND = '268000000000000002';

/** ZITADEL: https://zitadel.com/docs/guides/integrate/token-exchange */
const zitadel: SimulationRules = {
  tokenPath: '/oauth/v2/token',
  async token(request, server) {
    const { form } = request;
    const client = authenticateBasic(request, server);
    requireTokenExchange(form);
    requireSubjectTokenType(form, 'access_token', 'id_token', 'jwt');
    if (form.has('resource')) throw new OAuthError(400, 'invalid_target', 'resource parameter not supported');
    const subject = await server.read(form.get('subject_token'));
    const audiences = [subject?.aud ?? []].flat();
    if (!audiences.includes(client)) throw new OAuthError(400, 'invalid_request', 'subject_token invalid');
    // ZITADEL takes a token of type jwt as impersonation.
    if (form.get('subject_token_type') === JWT && !form.has('actor_token')) {
      throw new OAuthError(400, 'invalid_request', 'actor_token invalid');
    }
    const audience = singleValue(form, 'audience');
    if (!audiences.includes(audience)) {
      throw new OAuthError(400, 'invalid_target', `audience "${audience}" not found in subject or actor token`);
    }
    if (form.get('requested_token_type') !== JWT) return issued('opaque-token-of-zitadel');
    return issued(await server.mint({ aud: [audience] }), { issued_token_type: JWT });
  },
};

test('gets a JWT for the backend from ZITADEL with its recipe', async (t) => {
  const { server, call, received } = await startRecipe(t, 'zitadel', zitadel);
  assert.equal((await call(await server.mint({ aud: [CAMBIST, BACKEND] }))).status, 200);
  assert.deepEqual((received() as { aud: string[] }).aud, [BACKEND]);
});

test('forwards an opaque token, which ZITADEL issues unless a JWT is requested', async (t) => {
  const { app, config, server, call, received } = await startRecipe(t, 'zitadel', zitadel);
  app.reloadTo({ ...config, defaults: {} });
  assert.equal((await call(await server.mint({ aud: [CAMBIST, BACKEND] }))).status, 200);
  assert.equal(received(), 'opaque-token-of-zitadel');
});

test('returns the refusals of ZITADEL for a resource, an audience that the token lacks and an invalid token', async (t) => {
  const { server, call, change, upstream } = await startRecipe(t, 'zitadel', zitadel);
  assertProblem(await call('made.up.token'), 'ERR_SUBJECT_TOKEN_INVALID');
  const token = await server.mint({ aud: [CAMBIST, BACKEND] });
  change({ resource: 'https://github-mcp.example.com/mcp' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  change({ audience: '1' });
  assertProblem(await call(token), 'ERR_EXCHANGE_REFUSED');
  assert.equal(upstream.requests.length, 0);
});

testMisconfigurations({ name: 'ZITADEL', recipe: 'zitadel', rules: zitadel, claims: { aud: [CAMBIST, BACKEND] } }, [
  {
    when: 'a resource is sent',
    route: { resource: 'https://github-mcp.example.com/mcp' },
    finding: 'resource_refused',
    fix: /set resource: \[\]/,
  },
  {
    when: "the token lacks the backend's project",
    token: { aud: [CAMBIST] },
    finding: 'subject_lacks_target',
    fix: /urn:zitadel:iam:org:project:id:<project of the backend>:aud/,
  },
  {
    when: 'the token lacks the client',
    token: { aud: [BACKEND] },
    finding: 'subject_token_refused',
    fix: /audience of the tokens that callers sign in for/,
  },
  {
    when: 'no JWT is requested',
    defaults: {},
    finding: 'token_opaque',
    fix: /ZITADEL: also requested_token_type: jwt/,
  },
  {
    when: 'the type of the token is jwt',
    route: { subject_token: { type: 'jwt' } },
    finding: 'actor_token_required',
    fix: /ZITADEL: only if subject_token\.type is jwt/,
  },
]);
