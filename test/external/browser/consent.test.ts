import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { startCambist } from '../../harness/cambist-process.ts';
import { startConsentSetup } from '../../harness/consent-site.ts';
import { openPage } from './browser.ts';

test('a user consents in Chromium at the URL of a refused call, and the call goes on', async (t) => {
  const setup = await startConsentSetup(t);
  const cambist = await startCambist(t, { config: () => setup.config });
  await cambist.ready();
  const client = new Client(
    { name: 'agent', version: '1' },
    { capabilities: { elicitation: { form: {}, url: {} } }, versionNegotiation: { mode: 'auto' } },
  );
  t.after(() => client.close());
  const seen: string[] = [];
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    assert.ok(params.mode === 'url');
    const { page } = await openPage(t, params.url, { trustAll: true });
    await page.getByPlaceholder('Enter any login').fill('alice');
    await page.getByPlaceholder('and password').fill('any');
    seen.push((await page.textContent('h1')) ?? '');
    await page.getByRole('button', { name: 'Sign-in' }).click();
    await page.getByRole('button', { name: 'Continue' }).waitFor();
    seen.push((await page.textContent('h1')) ?? '');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'Connected' }).waitFor();
    return { action: 'accept' };
  });
  const token = await setup.server.mint();
  await client.connect(
    new StreamableHTTPClientTransport(new URL(`${cambist.url}/mcp`), {
      requestInit: { headers: { authorization: `Bearer ${token}` } },
    }),
  );
  const { content } = await client.callTool({ name: 'echo', arguments: { message: 'hi' } });
  assert.deepEqual(content, [{ type: 'text', text: 'hi' }]);
  assert.deepEqual(seen, ['Sign-in', 'Authorize']);
  assert.ok(!cambist.stdout().includes('ticket='));
});
