import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';
import { runClient } from '../intercept/run-program.ts';
import { startInterceptSetup } from '../intercept/setup.ts';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** 40 seconds of compiling on two cores. */
async function buildClient(): Promise<string> {
  const sources = ['Cargo.toml', 'Cargo.lock', 'src/main.rs'].map(here);
  const directory = await cachedInstall('rust-client', sources, async (folder) => {
    await cp(here('src'), join(folder, 'src'), { recursive: true });
    await runTool('cargo', ['build', '--quiet', '--locked'], folder);
  });
  return join(directory, 'target/debug/call');
}

test('reqwest with native roots is intercepted, and fails without its trust variable', async (t) => {
  const client = await buildClient();
  const setup = await startInterceptSetup();
  t.after(setup.close);
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
