import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { revoke as revokeTokens } from '../../src/commands/revoke.ts';
import { readRecords } from '../harness/audit-records.ts';
import { callCommand } from '../harness/call-command.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { freePort } from '../harness/http-server.ts';
import { sumSamples } from '../harness/metric-samples.ts';

const KEY = 'the key of the operators, which no agent can read';
const OTHER_KEY = 'another key, which an agent could have made up';

const CONFIGURED = { signals: { revoke: { secret: { file: './revoke-key' } } } };

async function start(t: TestContext, top: Readonly<Record<string, unknown>> = CONFIGURED) {
  const admin = `127.0.0.1:${await freePort()}`;
  const setup = await startFakeSetup(t, {
    change: ({ routes: [route], ...config }, { authorizationServer, directory }) => ({
      ...config,
      admin,
      ...top,
      audit: { to: { file: join(directory, 'audit.jsonl') } },
      routes: [{ ...route, subject_token: { verify: { issuer: authorizationServer.issuer, audience: 'cambist' } } }],
    }),
    files: { 'revoke-key': KEY, 'other-key': OTHER_KEY },
  });
  const { configFile, directory } = setup.cambist;
  const { issuer } = setup.authorizationServer;
  const bearer = (subject: string, sid: string) =>
    setup.bearer({ subject, audience: 'cambist', claims: { sid, iat: Math.floor(Date.now() / 1000) - 60 } });
  const revoke = (...more: string[]) =>
    callCommand(revokeTokens, ['--config', configFile, '--issuer', issuer, ...more]);
  return { ...setup, configFile, directory, issuer, bearer, revoke };
}

test('ends one session of a user, then all, and records both', async (t) => {
  const { call, bearer, revoke, directory, issuer, cambist } = await start(t);
  const [one, other, bob] = [await bearer('alice', 's1'), await bearer('alice', 's2'), await bearer('bob', 's3')];
  const statuses = async () => Promise.all([one, other, bob].map(async (headers) => (await call({ headers })).status));
  assert.deepEqual(await statuses(), [200, 200, 200]);
  const { code, stdout, stderr } = await revoke('--subject', 'alice', '--session', 's1');
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(
    stdout,
    'The tokens of this session that the user had until now are refused. No other replica knows: without cache.shared, run this at each of them.\n',
  );
  assert.deepEqual(await statuses(), [401, 200, 200]);
  assert.equal((await revoke('--subject', 'alice')).code, 0);
  assert.deepEqual(await statuses(), [401, 401, 200]);
  const records = readRecords(join(directory, 'audit.jsonl')).filter(({ event }) => event === 'revocation');
  assert.deepEqual(
    records.map(({ kind: _, event: __, time: ___, ...record }) => record),
    [
      { result: 'applied', claims: { iss: issuer, sub: 'alice', sid: 's1' } },
      { result: 'applied', claims: { iss: issuer, sub: 'alice' } },
    ],
  );
  const metrics = await (await fetch(`${cambist.adminUrl}/metrics`)).text();
  assert.equal(sumSamples(metrics, 'cambist_operator_revocations_total', { result: 'applied' }), 2);
});

test('refuses another key, another issuer, and what is not a token', async (t) => {
  const { call, bearer, revoke, directory, cambist, authorizationServer } = await start(t);
  const alice = await bearer('alice', 's1');
  const unknown = await revoke('--issuer', 'https://idp.example.com', '--subject', 'alice');
  assert.deepEqual([unknown.code, unknown.stdout], [1, '']);
  assert.equal(
    unknown.stderr,
    'cambist revoke: the token is refused: no transmitter or verify of the config has this issuer\n',
  );
  const own = join(directory, 'revoke-key');
  await writeFile(own, OTHER_KEY);
  const post = (body: string, headers: Record<string, string> = {}) =>
    fetch(`${cambist.adminUrl}/revoke`, {
      method: 'POST',
      headers: { 'content-type': 'application/logout+jwt', ...headers },
      body,
    });
  await eventually('the new key', async () => (await revoke('--subject', 'bob')).code === 0);
  await writeFile(own, 'short');
  const short = await revoke('--subject', 'alice');
  assert.deepEqual([short.code, short.stdout], [1, '']);
  assert.match(short.stderr, /the key is shorter than 32 characters/);
  await writeFile(own, KEY);
  const events = { 'http://schemas.openid.net/event/backchannel-logout': {} };
  const signed = await authorizationServer.mint({
    subject: 'alice',
    audience: 'urn:cambist:revoke',
    type: 'logout+jwt',
    claims: { jti: '1', events },
  });
  for (const body of [signed, await authorizationServer.mint({ subject: 'alice' }), 'x', '']) {
    assert.ok([400, 403, 503].includes((await post(body)).status), body);
  }
  assert.equal((await post(signed, { origin: 'http://evil.example.com' })).status, 403);
  assert.equal((await post(signed, { 'content-type': 'text/plain' })).status, 400);
  assert.equal((await post('x'.repeat(10_000))).status, 400);
  assert.equal((await call({ headers: alice })).status, 200);
});

test('says what is missing: options, the key in the config, a running cambist with it', async (t) => {
  const { revoke, configFile, cambist, bearer, call } = await start(t, {});
  for (const options of [[], ['--subject', ''], ['--subject', 'alice', '--session', '']]) {
    const { code, stderr } = await revoke(...options);
    assert.equal(code, 2);
    assert.match(stderr, /revoke needs --issuer and --subject, with a value each/);
  }
  const off = await revoke('--subject', 'alice');
  assert.equal(off.code, 1);
  assert.equal(off.stderr, 'cambist revoke: the config has no signals.revoke: set its secret, and restart cambist\n');
  const config = await readFile(configFile, 'utf8');
  await writeFile(configFile, `${config}\nsignals: ${JSON.stringify(CONFIGURED.signals)}\n`);
  const early = await revoke('--subject', 'alice');
  assert.equal(
    early.stderr,
    'cambist revoke: the running cambist has no signals.revoke: restart it with this config\n',
  );
  assert.equal((await call({ headers: await bearer('alice', 's1') })).status, 200);
  cambist.signal('SIGTERM');
  await cambist.exit;
  const stopped = await revoke('--subject', 'alice');
  assert.match(stopped.stderr, /cannot reach the admin listener at 127\.0\.0\.1:\d+/);
});
