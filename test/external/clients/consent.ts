import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../../harness/app.ts';
import { startConsentSetup } from '../../harness/consent-setup.ts';
import { consentAt } from '../../harness/consent-visitor.ts';
import { eventually } from '../../harness/eventually.ts';
import type { VisitingSdk } from './driver.ts';

async function start(t: TestContext) {
  const setup = await startConsentSetup();
  t.after(setup.close);
  const app = await startTestApp(t, setup.config);
  const consent = async (url: string) => {
    assert.match(await consentAt(url, 'alice', setup.site.ca), /Connected/);
  };
  return { url: `${app.url}/mcp`, token: await setup.server.mint(), consent };
}

/** Declares a test of a client that opens the URL during the call, as MCP 2026-07-28 has it. */
export function declareVisitTest(sdk: VisitingSdk): void {
  test(`${sdk.name}: the user opens the URL and consents, and the call goes on`, async (t) => {
    const { url, token, consent } = await start(t);
    const opened: string[] = [];
    const client = await sdk.connect(url, token, (page) => {
      opened.push(page);
      return consent(page);
    });
    t.after(() => client.close());
    assert.ok((await client.listTools()).includes('echo'));
    assert.equal(await client.call('echo', { message: 'hi' }), 'hi');
    assert.equal(await client.call('echo', { message: 'again' }), 'again');
    assert.equal(opened.length, 1);
  });
}

/** Declares a test of a client that gets the URL as an error, as MCP 2025-11-25 has it. */
export function declareUrlErrorTest(sdk: VisitingSdk): void {
  test(`${sdk.name}: the error shows the URL, the user consents, and the next call succeeds`, async (t) => {
    const { url, token, consent } = await start(t);
    const client = await sdk.connect(url, token, () => assert.fail('the client opens no URL by itself'));
    t.after(() => client.close());
    const error = await client.call('echo', { message: 'hi' }).catch(String);
    assert.match(error, /ERR_CONSENT_REQUIRED/);
    await consent(/https:\/\/localhost[^"'\s]+/.exec(error)?.[0] ?? '');
    await eventually('the consent counts', () =>
      client.call('echo', { message: 'hi' }).then(
        (text) => text === 'hi',
        () => false,
      ),
    );
  });
}
