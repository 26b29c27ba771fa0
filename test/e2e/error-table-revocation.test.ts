import assert from 'node:assert/strict';
import { test } from 'node:test';
import { provokeProblem } from '../harness/expected-problem.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { freePort } from '../harness/free-port.ts';

test('refuses callers, and is not ready, before it has read which tokens are revoked', async (t) => {
  const port = await freePort();
  const setup = await startFakeSetup({
    ready: false,
    files: { key: 'the key that all replicas of this test share' },
    change: (config, { authorizationServer, directory }) => ({
      ...config,
      cache: { shared: { url: `redis://127.0.0.1:${port}`, key: { file: `${directory}/key` } } },
      signals: {
        listen: '127.0.0.1:0',
        transmitters: { idp: { issuer: authorizationServer.issuer, audience: 'cambist', backchannel_logout: true } },
      },
    }),
  });
  t.after(setup.close);
  const headers = await setup.bearer();
  await provokeProblem(setup, { headers }, { code: 'ERR_REVOCATIONS_UNKNOWN' });
  await setup.cambist.waitForLog(
    ({ msg, check, error }) => msg === 'not ready' && check === 'cache.shared' && error === 'ERR_REVOCATIONS_UNKNOWN',
  );
  const response = await fetch(`${setup.cambist.adminUrl}/readyz`);
  const { checks } = (await response.json()) as { checks: Record<string, string> };
  assert.deepEqual([response.status, checks['cache.shared']], [503, 'ERR_REVOCATIONS_UNKNOWN']);
  const status = (await (await fetch(`${setup.cambist.adminUrl}/status.json`)).json()) as {
    missing: { check: string; cause: string; fix: string }[];
    signals: { replicas: unknown };
  };
  const missing = status.missing.find(({ check }) => check === 'cache.shared');
  assert.match(missing?.cause ?? '', /which tokens are revoked: unreachable/);
  assert.match(missing?.fix ?? '', /start the server/);
  assert.deepEqual(status.signals.replicas, { unshared: 0, in_sync: false, full: false });
});
