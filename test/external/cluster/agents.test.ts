import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { decodeProtectedHeader } from 'jose';
import { startGateway } from '../../harness/gateway.ts';
import { call } from '../../harness/http-call.ts';
import { recordSecret } from '../../harness/leaks.ts';
import { startCluster } from './cluster.ts';

const ISSUER = 'https://kubernetes.default.svc';

const cluster = await startCluster({ namespaces: { 'team-a': 'restricted', 'team-b': 'restricted' } });
const file = (name: string): string => join(cluster.folder, name);
for (const [namespace, name] of [
  ['team-a', 'billing'],
  ['team-b', 'support'],
  ['team-b', 'billing'],
] as const) {
  await cluster.run(`kubectl create serviceaccount -n ${namespace} ${name}`);
}
await writeFile(file('ca.pem'), cluster.apiServer.ca);
// cambist's own token, for the API server itself.
await writeFile(file('token'), await tokenOf('team-b/default', ''));

/** A token of the TokenRequest API, as the kubelet projects it into a pod. */
async function tokenOf(account: string, options = '--audience=cambist'): Promise<string> {
  const [namespace, name] = account.split('/');
  const token = (await cluster.run(`kubectl create token -n ${namespace} ${name} ${options}`)).trim();
  recordSecret(token);
  return token;
}

async function start(t: TestContext, jwksToken = file('token')) {
  const token = {
    header: 'x-agent-token',
    issuer: ISSUER,
    audience: 'cambist',
    jwks_uri: `${cluster.apiServer.url}/openid/v1/jwks`,
    jwks_token: { file: jwksToken },
    tls: { ca: { file: file('ca.pem') } },
  };
  const known = { billing: { service_account: 'team-a/billing' }, support: { service_account: 'team-b/support' } };
  const gateway = await startGateway(t, { route: { agents: ['billing'] }, top: { agents: { token, known } } });
  /** @returns the status and the error code */
  const send = async (agentToken: string) => {
    const headers = { authorization: gateway.authorization, 'x-agent-token': agentToken };
    const { status, text } = await call(`${gateway.app.url}/github`, { headers });
    return [status, (JSON.parse(text) as { readonly code?: string }).code];
  };
  return { ...gateway, send };
}

const OK = [200, undefined];
const UNKNOWN = [401, 'ERR_AGENT_UNKNOWN'];

test('knows agents by the tokens of their service accounts', async (t) => {
  const { send, app } = await start(t);
  assert.deepEqual(await send(await tokenOf('team-a/billing')), OK);
  assert.deepEqual(await send(await tokenOf('team-a/billing', '--audience=cambist --audience=other')), OK);
  assert.deepEqual(await send(await tokenOf('team-b/support')), [403, 'ERR_AGENT_NOT_ALLOWED']);
  for (const token of [
    await tokenOf('team-b/billing'),
    await tokenOf('team-a/billing', '--audience=other'),
    await tokenOf('team-a/billing', ''),
    (await readFile(file('token'), 'utf8')).trim(),
  ]) {
    assert.deepEqual(await send(token), UNKNOWN);
  }
  assert.match(app.logText(), /"agent":"support"/);
});

test('cannot verify tokens where the API server refuses its own', async (t) => {
  await writeFile(file('foreign'), await tokenOf('team-b/default', '--audience=other'));
  const { send } = await start(t, file('foreign'));
  assert.deepEqual(await send(await tokenOf('team-a/billing')), [503, 'ERR_STS_UNAVAILABLE']);
  await writeFile(file('foreign'), await readFile(file('token')));
});

test('accepts the tokens of a new signing key, and those of the previous one', async (t) => {
  const { send } = await start(t);
  const before = await tokenOf('team-a/billing');
  const unseen = await tokenOf('team-a/billing', '--audience=cambist --duration=20m');
  assert.deepEqual(await send(before), OK);
  await cluster.rotateSigningKey();
  const after = await tokenOf('team-a/billing');
  assert.notEqual(decodeProtectedHeader(after).kid, decodeProtectedHeader(before).kid);
  assert.deepEqual(await send(after), OK);
  for (const token of [before, unseen]) assert.deepEqual(await send(token), OK);
});
