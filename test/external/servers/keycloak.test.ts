import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { exportJWK, exportPKCS8, generateKeyPair } from 'jose';
import { parse } from 'yaml';
import { routeTo, startTestApp } from '../../harness/app.ts';
import { readRecords, recordsOf } from '../../harness/audit-records.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { call } from '../../harness/http-call.ts';
import { keepParts } from '../../harness/lifetime.ts';
import { type McpBackend, startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import { basicAuth, post, requestToken, startAgent, whoami } from './agent.ts';
import { committedRealm, startKeycloak } from './keycloak.ts';
import {
  ACTOR,
  MISTAKEN_REALM,
  MISTAKES,
  mistakenRealm,
  REALM,
  SECRET,
  USER,
  withResourceUrl,
} from './keycloak-realms.ts';

const AUDIENCES = ['github-mcp', 'docs-mcp'];
/** The URL of a backend, by which Keycloak's feature "resource-indicators" knows it. */
const RESOURCE = 'https://github-mcp.example.com/mcp';

const lifetime = keepParts();
after(lifetime.close);
const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
const jwk = { ...(await exportJWK(publicKey)), alg: 'ES256', use: 'sig', kid: 'throwaway' };
const committed = await committedRealm();
const realms = [withResourceUrl(committed, 'github-mcp', RESOURCE), mistakenRealm(committed, jwk)];
const keycloak = lifetime.keep(await startKeycloak(realms, { KC_FEATURES: 'resource-indicators' }));
const backends = new Map<string, McpBackend>();
for (const realm of [REALM, MISTAKEN_REALM]) {
  for (const name of AUDIENCES) {
    const trust = { issuer: keycloak.issuer(realm), jwksUri: keycloak.jwksUri(realm) };
    backends.set(`${realm}/${name}`, await startMcpBackend(lifetime, { name, resource: name, ...trust }));
  }
}
const recipe = parse(await readFile('config/keycloak.yaml', 'utf8')) as {
  readonly authorization_servers: { readonly keycloak: Readonly<Record<string, unknown>> };
  readonly routes: readonly { readonly name: string; readonly audience: string }[];
};
const files = {
  secret: SECRET,
  'wrong-secret': 'this-is-not-the-secret',
  key: await exportPKCS8(privateKey),
  'actor-token': 'throwaway-until-the-test-writes-one',
};
const signInTo = async (realm: string, client = 'agent') => (await keycloak.signIn(realm, client, USER)).accessToken;
const agent = await startAgent(files, config, () => signInTo(REALM));
const { cambist, leaks, keep, signIn, url, examine, declareMistakes } = agent;
const signInToMistaken = () => signInTo(MISTAKEN_REALM);

/** The recipe, with another server and route for each tested client. */
function config(directory: string) {
  const server = (realm: string, client_id: string, client_auth: object = basicAuth(directory, 'secret')) => ({
    issuer: keycloak.issuer(realm),
    client_id,
    client_auth,
  });
  const signing = { method: 'private_key_jwt', private_key: { file: join(directory, 'key') }, key_id: 'throwaway' };
  const route = (name: string, authorization_server: string, audience: string, more: object = {}) => {
    const realm = authorization_server === 'keycloak' ? REALM : MISTAKEN_REALM;
    const { url } = backends.get(`${realm}/${audience}`) ?? [...backends.values()][0] ?? {};
    return routeTo(name, url, { authorization_server, audience, ...more });
  };
  return {
    audit: { to: { file: 'audit.jsonl' }, claims: ['sub', 'preferred_username', 'azp', 'act'] },
    authorization_servers: {
      keycloak: { ...recipe.authorization_servers.keycloak, ...server(REALM, 'cambist') },
      mistaken: server(MISTAKEN_REALM, 'cambist'),
      mapperless: server(MISTAKEN_REALM, MISTAKES.withoutMapper),
      off: server(MISTAKEN_REALM, MISTAKES.switchedOff),
      signing: server(MISTAKEN_REALM, MISTAKES.signing, signing),
      stranger: server(MISTAKEN_REALM, 'cambist', basicAuth(directory, 'wrong-secret')),
    },
    routes: [
      ...recipe.routes.map((keys) => ({
        ...route(keys.name, 'keycloak', keys.audience),
        ...keys,
        upstream: backends.get(`${REALM}/${keys.audience}`)?.url,
      })),
      route('unknown', 'keycloak', 'nobody-mcp'),
      route('delegated', 'keycloak', 'docs-mcp', { actor_token: { file: join(directory, 'actor-token') } }),
      ...['mistaken', 'mapperless', 'off', 'signing', 'stranger'].map((name) => route(name, name, 'github-mcp')),
      route('by-resource', 'keycloak', 'github-mcp', { audience: undefined, resource: RESOURCE }),
      route('by-unknown-resource', 'keycloak', 'docs-mcp', {
        credential: 'client_credentials',
        audience: undefined,
        resource: 'https://nobody-mcp.example.com/mcp',
      }),
    ],
  };
}

test('sends each backend a token only for itself, with the same subject', async () => {
  const token = await signIn();
  const github = await whoami(url('github'), token);
  const docs = await whoami(url('docs'), token);
  assert.deepEqual([github.server, github.aud], ['github-mcp', 'github-mcp']);
  assert.deepEqual([docs.server, docs.aud], ['docs-mcp', 'docs-mcp']);
  assert.equal(github.sub, docs.sub);
  const direct = await post(backends.get(`${REALM}/github-mcp`)?.url ?? '', token);
  assert.equal(direct.status, 401, "the backend refuses the caller's own token");
});

declareMistakes([
  {
    mistake: 'an unknown audience',
    route: 'unknown',
    code: 'ERR_EXCHANGE_REFUSED',
    finding: 'audience_unknown',
    fix: /client \(Keycloak\) .* named "nobody-mcp"/,
  },
  {
    mistake: 'a subject token without the exchanging client in its audience',
    route: 'mistaken',
    token: () => signInTo(MISTAKEN_REALM, MISTAKES.bareAgent),
    code: 'ERR_EXCHANGE_REFUSED',
    finding: 'subject_audience_lacks_client',
    fix: /add "cambist" to the audience/,
  },
  {
    mistake: 'a client without audience mappers',
    route: 'mapperless',
    token: signInToMistaken,
    code: 'ERR_EXCHANGE_REFUSED',
    finding: 'audience_mapper_missing',
    fix: /give client "cambist-without-mapper" an audience mapper/,
  },
  {
    mistake: 'a client with disabled token exchange',
    route: 'off',
    token: signInToMistaken,
    code: 'ERR_CLIENT_REFUSED',
    finding: 'exchange_disabled',
    fix: /switch "Standard token exchange" on for client "cambist-switched-off"/,
  },
  {
    mistake: 'a wrong client secret',
    route: 'stranger',
    token: signInToMistaken,
    code: 'ERR_CLIENT_REFUSED',
    finding: 'client_refused',
    fix: /compare client_id and secret/,
  },
  {
    mistake: 'a token of another realm',
    route: 'github',
    token: signInToMistaken,
    code: 'ERR_SUBJECT_TOKEN_INVALID',
    finding: 'subject_issuer_differs',
    why: /realms\/mistaken".*realms\/agents"/,
  },
  {
    mistake: 'resource, which token exchange ignores with the feature resource-indicators as well',
    route: 'by-resource',
    code: 'ERR_ISSUED_TOKEN_AUDIENCE',
    finding: 'audience_wrong',
    what: /its "aud" is .*"docs-mcp"/,
    fix: /set the route's audience/,
  },
  {
    mistake: 'client credentials for an unknown resource, with that feature',
    route: 'by-unknown-resource',
    code: 'ERR_EXCHANGE_REFUSED',
    finding: 'resource_refused',
  },
]);

test('records the user and the chain of actors of a token from Keycloak', async () => {
  const token = keep(await signInToMistaken());
  const claims = await whoami(url('signing'), token);
  assert.equal(claims.aud, 'github-mcp', 'the client signs its authentication');
  assert.deepEqual(claims.act, ACTOR);
  const all = readRecords(join(cambist.directory, 'audit.jsonl'));
  const call = recordsOf('request', all).findLast(({ route, mcp }) => route === 'signing' && mcp?.name === 'whoami');
  assert.deepEqual(call?.actor, { verified: true, from: 'issued_token', claims: ACTOR });
  const { subject, caller } = call ?? {};
  assert.deepEqual([subject?.verified, subject?.claims.preferred_username], [true, USER.name]);
  assert.deepEqual([caller?.verified, caller?.claims.azp], [false, 'agent']);
  const issued = recordsOf('exchange', all).find(({ token: { jti } = {} }) => jti === call?.token?.jti);
  assert.deepEqual([issued?.result, issued?.requested.audience], ['issued', ['github-mcp']]);
  leaks.assertNoLeak({ audit: JSON.stringify(all) });
});

test('doctor reports that Keycloak ignores an actor token', async () => {
  const token = await signIn();
  await writeFile(join(cambist.directory, 'actor-token'), token);
  assert.equal((await whoami(url('delegated'), token)).act, undefined);
  const { code, warnings } = await examine('delegated', token);
  assert.deepEqual([code, warnings], [0, ['actor_missing']]);
});

test('Keycloak ignores the token of an agent as well, and each agent has a token of its own', async (t) => {
  const cluster = await startFakeAuthorizationServer(t);
  const { authorization_servers, routes } = config(cambist.directory);
  const delegated = { ...routes.find(({ name }) => name === 'delegated'), actor_token: { from: 'agent' } };
  const app = await startTestApp(t, {
    authorization_servers: { keycloak: authorization_servers.keycloak },
    routes: [delegated],
    agents: {
      token: { header: 'x-agent-token', issuer: cluster.issuer, audience: 'cambist' },
      known: { billing: { subject: 'billing' }, support: { subject: 'support' } },
    },
  });
  const authorization = `Bearer ${await signIn()}`;
  for (const subject of ['billing', 'billing', 'support']) {
    const headers = { authorization, 'x-agent-token': await cluster.mint({ subject }) };
    // The backend accepts the issued token: it misses no sign-in.
    assert.notEqual((await call(`${app.url}/delegated`, { headers, method: 'GET' })).status, 401);
  }
  assert.equal(await app.metric('cambist_exchanges_total', { result: 'success' }), 2);
});

test('with that feature, client credentials fail for a known resource', async () => {
  const form = { grant_type: 'client_credentials', resource: RESOURCE };
  const requested = requestToken(`${keycloak.openid(REALM)}/token`, form, `cambist:${SECRET}`);
  await assert.rejects(requested, /failed with 500/);
});
