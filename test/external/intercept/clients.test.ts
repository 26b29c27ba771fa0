import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { startFastMcpDriver, startGoDriver, startPythonDriver } from '../clients/install.ts';
import { findPython, installNode24, installPythonLibraries } from '../installs.ts';
import { curlOf, MCP_URL, program, runClient, startInterceptSetup } from './setup.ts';

/** Clients that know nothing of cambist: they get the variables of the trust folder, and an https URL that DNS does not know. */
const setup = await startInterceptSetup({ after });
const { cambist, leaks, token } = setup;

const CURL = curlOf(setup, MCP_URL);

/** Runs a client whose calls must succeed with an exchanged token. The backend verifies it. */
async function assertIntercepted(command: readonly string[], expected: string): Promise<void> {
  const before = await setup.arrivals('proxy');
  const { code, stdout, stderr } = await runClient(setup, command);
  assert.deepEqual({ code, stdout }, { code: 0, stdout: expected }, stderr);
  assert.ok((await setup.arrivals('proxy')) > before, 'the call went through cambist');
  leaks.assertNoLeak({ log: cambist.stdout(), stderr: cambist.stderr() });
}

test('curl', () => assertIntercepted(CURL, '200'));

test('fetch and node:https of Node 24', async () => {
  await assertIntercepted([await installNode24(), program('fetch.mjs')], '200 200');
});

test('Node 20 needs a library for the proxy variables, and then works', async () => {
  await assertIntercepted([process.execPath, program('undici-fetch.mjs')], '200');
  const { code, stderr } = await runClient(setup, [process.execPath, program('fetch.mjs')]);
  assert.notEqual(code, 0);
  assert.match(stderr, /ENOTFOUND|EAI_AGAIN/, 'its own fetch asks DNS for the host');
});

for (const which of ['v1', 'v2-legacy', 'v2']) {
  test(`MCP SDK for TypeScript, ${which}`, async () => {
    await assertIntercepted([await installNode24(), program('mcp-client.mjs'), which], 'tools');
  });
}

test('urllib of Python with strict verification', () =>
  assertIntercepted([findPython(), program('urllib_client.py')], '200'));

test('requests and httpx', async () => {
  await assertIntercepted([join(await installPythonLibraries(), 'python'), program('library_clients.py')], '200 200');
});

test("Java's HttpClient", () =>
  assertIntercepted(['java', '-XX:TieredStopAtLevel=1', program('HttpClientCall.java')], '200'));

test('keytool reads the trust store, with the authority in it', async () => {
  const store = ['-keystore', `${setup.trustDir}/truststore.p12`, '-storepass', ''];
  const { code, stdout } = await runClient(setup, ['keytool', '-list', '-v', ...store], {
    without: ['JAVA_TOOL_OPTIONS'],
  });
  assert.equal(code, 0);
  assert.match(stdout, /Entry type: trustedCertEntry[\s\S]*Owner: CN=cambist intercept CA/);
});

test('the MCP SDKs for Python and Go, and FastMCP', async (t) => {
  const starts = [
    ['Python', startPythonDriver],
    ['FastMCP', startFastMcpDriver],
    ['Go', startGoDriver],
  ] as const;
  // Their packages are installed without cambist.
  for (const [, start] of starts) await (await start()).close();
  Object.assign(process.env, setup.variables);
  for (const [name, start] of starts) {
    await t.test(name, async () => {
      const driver = await start();
      try {
        const client = await driver.sdk(name, 'auto').connect(MCP_URL, token);
        const before = await setup.arrivals('proxy');
        assert.ok((await client.listTools()).length > 0);
        assert.ok((await setup.arrivals('proxy')) > before);
        await client.close();
      } finally {
        await driver.close();
      }
    });
  }
  leaks.assertNoLeak({ log: cambist.stdout(), stderr: cambist.stderr() });
});

for (const [what, command, missing, cause, hint] of [
  ['curl', CURL, ['CURL_CA_BUNDLE', 'SSL_CERT_FILE'], 'untrusted', 'CURL_CA_BUNDLE'],
  ['Java', ['java', program('HttpClientCall.java')], ['JAVA_TOOL_OPTIONS'], undefined, undefined],
] as const) {
  test(`${what} without its trust variable fails, and nothing is sent`, async () => {
    const requests = setup.backend.requests.length;
    const { code } = await runClient(setup, command, { without: missing });
    assert.notEqual(code, 0);
    assert.equal(setup.backend.requests.length, requests);
    if (cause === undefined) return;
    await cambist.waitForLog(({ reason, msg }) => reason === cause && String(msg).includes(hint));
  });
}
