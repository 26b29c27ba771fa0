import assert from 'node:assert/strict';
import { test } from 'node:test';
import { installRustClient } from '../installs.ts';
import { runClient, startInterceptSetup } from '../intercept/setup.ts';

test('reqwest with native roots is intercepted, and fails without its trust variable', async (t) => {
  const client = await installRustClient();
  const setup = await startInterceptSetup(t);
  const { code, stdout, stderr } = await runClient(setup, [client]);
  assert.deepEqual({ code, stdout }, { code: 0, stdout: '200' }, stderr);
  assert.equal(await setup.arrivals('proxy'), 1);
  const requests = setup.backend.requests.length;
  const untrusting = await runClient(setup, [client], { without: ['SSL_CERT_FILE'] });
  assert.notEqual(untrusting.code, 0);
  assert.match(untrusting.stderr, /UnknownIssuer/);
  assert.equal(setup.backend.requests.length, requests);
  setup.leaks.assertNoLeak({ log: setup.cambist.stdout(), stderr: setup.cambist.stderr() });
});
