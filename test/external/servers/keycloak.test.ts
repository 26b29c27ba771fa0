import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { exportJWK, exportPKCS8, generateKeyPair } from 'jose';
import { parse } from 'yaml';
import { readRecords, recordsOf } from '../../harness/audit-records.ts';
import { type CambistProcess, startCambist } from '../../harness/cambist-process.ts';
import { keepParts } from '../../harness/keep-parts.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { type McpBackend, startMcpBackend } from '../../harness/mcp-backend.ts';
import { assertProblem } from '../../harness/problem.ts';
import { post, whoami } from './agent.ts';
import { type Diagnosis, diagnose } from './diagnose.ts';
import { committedRealm, type Keycloak, startKeycloak } from './keycloak.ts';
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

let keycloak: Keycloak;
let cambist: CambistProcess;
const backends = new Map<string, McpBackend>();
const leaks = createLeakWatch();
const { keep, close } = keepParts();

before(async () => {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), alg: 'ES256', use: 'sig', kid: 'throwaway' };
  const committed = await committedRealm();
  const realms = [withResourceUrl(committed, 'github-mcp', RESOURCE), mistakenRealm(committed, jwk)];
  keycloak = keep(await startKeycloak(realms, { KC_FEATURES: 'resource-indicators' }));
  for (const realm of [REALM, MISTAKEN_REALM]) {
    for (const audience of AUDIENCES) {
      const trust = { issuer: keycloak.issuer(realm), jwksUri: keycloak.jwksUri(realm) };
      backends.set(
        `${realm}/${audience}`,
        keep(await startMcpBackend({ name: audience, resource: audience, ...trust })),
      );
    }
  }
  leaks.remember(SECRET);
  const recipe = await readRecipe();
  cambist = keep(
    await startCambist({
      files: {
        secret: SECRET,
        'wrong-secret': 'this-is-not-the-secret',
        key: await exportPKCS8(privateKey),
        'actor-token': 'later',
      },
      config: (directory) => config(directory, recipe),
    }),
  );
  await cambist.ready();
});

after(close);

/** Reads `config/keycloak.yaml`. */
async function readRecipe() {
  const text = await readFile(new URL('../../../config/keycloak.yaml', import.meta.url), 'utf8');
  const { authorization_servers: servers, routes } = parse(text) as {
    authorization_servers: { keycloak: Record<string, unknown> };
    routes: { name: string; audience: string }[];
  };
  return { server: servers.keycloak, routes };
}

/** The recipe, with another server and route for each tested client. */
function config(directory: string, recipe: Awaited<ReturnType<typeof readRecipe>>) {
  const basic = (file: string) => ({
    method: 'client_secret_basic',
    client_secret: { file: join(directory, file) },
  });
  const server = (realm: string, clientId: string, auth: object = basic('secret')) => ({
    issuer: keycloak.issuer(realm),
    client_id: clientId,
    client_auth: auth,
  });
  const signing = { method: 'private_key_jwt', private_key: { file: join(directory, 'key') }, key_id: 'throwaway' };
  const route = (name: string, authorizationServer: string, realm: string, audience: string, more: object = {}) => ({
    name,
    match: { path: `/${name}` },
    upstream: (backends.get(`${realm}/${audience}`) ?? [...backends.values()][0])?.url,
    authorization_server: authorizationServer,
    audience,
    ...more,
  });
  return {
    audit: { to: { file: 'audit.jsonl' }, claims: ['sub', 'preferred_username', 'azp', 'act'] },
    authorization_servers: {
      keycloak: { ...recipe.server, ...server(REALM, 'cambist') },
      mistaken: server(MISTAKEN_REALM, 'cambist'),
      mapperless: server(MISTAKEN_REALM, MISTAKES.withoutMapper),
      off: server(MISTAKEN_REALM, MISTAKES.switchedOff),
      signing: server(MISTAKEN_REALM, MISTAKES.signing, signing),
      stranger: server(MISTAKEN_REALM, 'cambist', basic('wrong-secret')),
    },
    routes: [
      ...recipe.routes.map((keys) => ({
        ...route(keys.name, 'keycloak', REALM, keys.audience),
        ...keys,
        upstream: backends.get(`${REALM}/${keys.audience}`)?.url,
      })),
      route('unknown', 'keycloak', REALM, 'nobody-mcp'),
      route('delegated', 'keycloak', REALM, 'docs-mcp', {
        actor_token: { file: join(directory, 'actor-token') },
      }),
      route('mistaken', 'mistaken', MISTAKEN_REALM, 'github-mcp'),
      route('mapperless', 'mapperless', MISTAKEN_REALM, 'github-mcp'),
      route('off', 'off', MISTAKEN_REALM, 'github-mcp'),
      route('signing', 'signing', MISTAKEN_REALM, 'github-mcp'),
      route('stranger', 'stranger', MISTAKEN_REALM, 'github-mcp'),
      route('by-resource', 'keycloak', REALM, 'github-mcp', { audience: undefined, resource: RESOURCE }),
      route('by-unknown-resource', 'keycloak', REALM, 'docs-mcp', {
        credential: 'client_credentials',
        audience: undefined,
        resource: 'https://nobody-mcp.example.com/mcp',
      }),
    ],
  };
}

async function signIn(realm: string, client = 'agent'): Promise<string> {
  const token = await keycloak.signIn(realm, client, USER);
  leaks.remember(token);
  return token;
}

async function examine(route: string, token: string): Promise<Diagnosis> {
  const diagnosis = await diagnose({ config: cambist.configFile, route, token, directory: cambist.directory });
  leaks.assertNoLeak({ [`doctor of ${route}`]: diagnosis.text });
  return diagnosis;
}

test('sends each backend a token only for itself, with the same subject', async () => {
  const token = await signIn(REALM);
  const github = await whoami(`${cambist.url}/github`, token);
  const docs = await whoami(`${cambist.url}/docs`, token);
  assert.deepEqual([github.server, github.aud], ['github-mcp', 'github-mcp']);
  assert.deepEqual([docs.server, docs.aud], ['docs-mcp', 'docs-mcp']);
  assert.equal(github.sub, docs.sub);
  const direct = await post(backends.get(`${REALM}/github-mcp`)?.url ?? '', token);
  assert.equal(direct.status, 401, "the backend refuses the caller's own token");
});

test('exchanges tokens with private_key_jwt', async () => {
  const { aud } = await whoami(`${cambist.url}/signing`, await signIn(MISTAKEN_REALM));
  assert.equal(aud, 'github-mcp');
});

test('doctor finds no problem in a correct setup, and shows the claims', async () => {
  const { code, errors, claims } = await examine('github', await signIn(REALM));
  assert.deepEqual([code, errors], [0, []]);
  assert.equal(claims?.aud, 'github-mcp');
});

const MISTAKES_MADE = [
  {
    mistake: 'an unknown audience',
    route: 'unknown',
    realm: REALM,
    code: 'ERR_EXCHANGE_REFUSED',
    finding: 'audience_unknown',
    fix: /client named "nobody-mcp"/,
  },
  {
    mistake: 'a subject token without the exchanging client in its audience',
    route: 'mistaken',
    realm: MISTAKEN_REALM,
    client: MISTAKES.bareAgent,
    code: 'ERR_EXCHANGE_REFUSED',
    finding: 'subject_audience_lacks_client',
    fix: /add "cambist" to the audience/,
  },
  {
    mistake: 'a client without audience mappers',
    route: 'mapperless',
    realm: MISTAKEN_REALM,
    code: 'ERR_EXCHANGE_REFUSED',
    finding: 'audience_mapper_missing',
    fix: /give client "cambist-without-mapper" an audience mapper/,
  },
  {
    mistake: 'a client with disabled token exchange',
    route: 'off',
    realm: MISTAKEN_REALM,
    code: 'ERR_CLIENT_REFUSED',
    finding: 'exchange_disabled',
    fix: /switch "Standard token exchange" on for client "cambist-switched-off"/,
  },
  {
    mistake: 'a wrong client secret',
    route: 'stranger',
    realm: MISTAKEN_REALM,
    code: 'ERR_CLIENT_REFUSED',
    finding: 'client_refused',
    fix: /compare client_id and secret/,
  },
] as const;
for (const { mistake, route, realm, code, finding, fix, ...more } of MISTAKES_MADE) {
  test(`returns ${code} for ${mistake}, and doctor finds ${finding}`, async () => {
    const token = await signIn(realm, 'client' in more ? more.client : 'agent');
    assertProblem(await post(`${cambist.url}/${route}`, token), code);
    const { code: exitCode, errors } = await examine(route, token);
    assert.deepEqual([exitCode, errors.map((error) => error.code)], [1, [finding]]);
    assert.match(errors[0]?.fix ?? '', fix);
  });
}

test('rejects a token of another realm, and doctor names both issuers', async () => {
  const token = await signIn(MISTAKEN_REALM);
  assertProblem(await post(`${cambist.url}/github`, token), 'ERR_SUBJECT_TOKEN_INVALID');
  const { errors } = await examine('github', token);
  assert.deepEqual(
    errors.map((error) => error.code),
    ['subject_issuer_differs'],
  );
  assert.match(errors[0]?.why ?? '', /realms\/mistaken".*realms\/agents"/);
});

test('records the user and the chain of actors of a token from Keycloak', async () => {
  const token = await signIn(MISTAKEN_REALM);
  const claims = await whoami(`${cambist.url}/signing`, token);
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
  const token = await signIn(REALM);
  await writeFile(join(cambist.directory, 'actor-token'), token);
  assert.equal((await whoami(`${cambist.url}/delegated`, token)).act, undefined);
  const { code, warnings } = await examine('delegated', token);
  assert.deepEqual([code, warnings.map((warning) => warning.code)], [0, ['actor_missing']]);
});

test('token exchange ignores resource, with the feature resource-indicators as well', async () => {
  const token = await signIn(REALM);
  assertProblem(await post(`${cambist.url}/by-resource`, token), 'ERR_ISSUED_TOKEN_AUDIENCE');
  const { errors } = await examine('by-resource', token);
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['audience_wrong'],
  );
  assert.match(errors[0]?.what ?? '', /its "aud" is .*"docs-mcp"/);
  assert.match(errors[0]?.fix ?? '', /set the route's audience/);
});

test('with that feature, client credentials are refused for an unknown resource', async () => {
  const token = await signIn(REALM);
  assertProblem(await post(`${cambist.url}/by-unknown-resource`, token), 'ERR_EXCHANGE_REFUSED');
  const { errors } = await examine('by-unknown-resource', token);
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['resource_refused'],
  );
});

test('with that feature, client credentials fail for a known resource', async () => {
  const form = new URLSearchParams({ grant_type: 'client_credentials', resource: RESOURCE });
  const authorization = `Basic ${Buffer.from(`cambist:${SECRET}`).toString('base64')}`;
  const endpoint = `${keycloak.issuer(REALM)}/protocol/openid-connect/token`;
  const { status } = await fetch(endpoint, { method: 'POST', body: form, headers: { authorization } });
  assert.equal(status, 500);
});

test('writes no token or secret to the log or the output of doctor', () => {
  leaks.assertNoLeak({ stdout: cambist.stdout(), stderr: cambist.stderr() });
});
