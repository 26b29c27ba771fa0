import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { type FakeSetup, fakeSetupConfig, startFakeSetup } from '../harness/fake-setup.ts';
import type { GatewayConfig } from '../harness/gateway.ts';

function configOf({ authorizationServer, upstream, cambist }: FakeSetup): GatewayConfig {
  return fakeSetupConfig({ authorizationServer, upstream, directory: cambist.directory });
}

function withRoute(config: GatewayConfig, name: string, keys: Record<string, unknown> = {}): GatewayConfig {
  const [first] = config.routes;
  return { ...config, routes: [...config.routes, { ...first, name, match: { path: `/${name}` }, ...keys }] };
}

async function reloaded(setup: FakeSetup, times: number, result = 'success'): Promise<void> {
  await eventually(`${result} of reload ${times}`, async () => {
    return (await setup.cambist.metric('cambist_config_reloads_total', { result })) === times;
  });
}

test('keeps the previous config after an invalid file, of which it reports every problem, and after a pipe', async (t) => {
  const setup = await startFakeSetup(t);
  const { cambist } = setup;
  const headers = await setup.bearer();
  const before = await cambist.metric('cambist_config_last_reload_success_timestamp_seconds');

  await cambist.rewriteConfig('version: 1\nroutes: [{ name: Bad Name, match: {} }]\nlog: { leveel: info }\n');
  await reloaded(setup, 1, 'failure');
  await cambist.waitForLog(({ msg }) => msg === 'config reload failed; keeping the previous config');
  const problems = cambist.logs().filter(({ level, line }) => level === 'error' && line !== undefined);
  const logged = problems.map(({ msg }) => String(msg)).join('\n');
  for (const problem of ['routes[0].name', 'missing key "upstream"', '"leveel"'])
    assert.ok(logged.includes(problem), logged);
  assert.equal(await cambist.metric('cambist_config_last_reload_successful'), 0);
  assert.equal(await cambist.metric('cambist_config_last_reload_success_timestamp_seconds'), before);
  assert.equal((await setup.call({ headers })).status, 200);
  assert.equal((await fetch(`${cambist.adminUrl}/readyz`)).status, 200);

  const pipe = join(cambist.directory, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await rename(pipe, cambist.configFile);
  await reloaded(setup, 2, 'failure');
  await cambist.waitForLog(({ msg }) => String(msg).includes('neither a file'));

  await cambist.rewriteConfig({ ...configOf(setup), log: { level: 'warn' } });
  await reloaded(setup, 1);
  assert.match(await (await fetch(`${cambist.adminUrl}/log-level`)).text(), /"level": *"warn"/);
  assert.equal(await cambist.metric('cambist_config_last_reload_successful'), 1);
  assert.equal(setup.authorizationServer.requests.length, 1);
  assert.equal((await setup.call({ headers })).status, 200);
  assert.equal(setup.authorizationServer.requests.length, 1, 'the cached token is kept');
});

test('reloads on SIGHUP, and names the keys that need a restart', async (t) => {
  const setup = await startFakeSetup(t);
  setup.cambist.signal('SIGHUP');
  await reloaded(setup, 1);
  await setup.cambist.waitForLog(({ msg }) => msg === 'config reloaded');

  const config = withRoute(configOf(setup), 'more', { credential: 'none' });
  await setup.cambist.rewriteConfig({
    ...config,
    listen: '127.0.0.1:1',
    admin: '127.0.0.1:2',
    limits: { max_header_size: '8KiB' },
  });
  await reloaded(setup, 2);
  const { keys } = await setup.cambist.waitForLog(
    ({ msg }) => msg === 'config reloaded in part; these keys need a restart',
  );
  assert.deepEqual(keys, ['listen', 'admin', 'limits.max_header_size']);
  assert.equal(await setup.cambist.metric('cambist_config_keys_waiting_for_restart'), 3);
  assert.equal((await setup.call({ path: '/more' })).status, 200);
});
