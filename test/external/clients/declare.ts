import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { describeError, type ErrorCode } from '../../../src/error-catalogue.ts';
import type { AgentSdk } from '../../harness/agent-client.ts';
import { startTestApp } from '../../harness/app.ts';
import { consentAt, startConsentSetup } from '../../harness/consent-site.ts';
import { eventually } from '../../harness/eventually.ts';
import { SCOPE, type SignInServer, startRefusingSetup } from '../../harness/refusing-setup.ts';
import type { VisitingSdk } from './driver.ts';

/** Declares tests of a client that has no driver for progress, sampling and subscriptions. */
export function declareBasicTests(sdk: AgentSdk): void {
  test(`${sdk.name}: lists and calls tools with an exchanged token`, async (t) => {
    const { client, token, fixture } = await connect(t, sdk);
    assert.ok((await client.listTools()).includes('echo'));
    assert.equal(await client.call('echo', { message: 'grüezi 🙂' }), 'grüezi 🙂');
    const received = fixture.requests.map(({ headers }) => headers.authorization);
    assert.ok(received.every((value) => value?.startsWith('Bearer ') === true && !value.includes(token)));
  });
}

/** The part that a client shows its user of each error. The message of cambist's own errors begins with their code. */
export interface Shown {
  /** 403 `ERR_EXCHANGE_REFUSED` */
  forbidden(message: string): string;
  /** 502 `ERR_UPSTREAM_UNREACHABLE` */
  unreachable(message: string): string;
  /** 401 `ERR_SUBJECT_TOKEN_INVALID`, without an OAuth flow */
  signedOut(message: string): string;
  /** A 403 of the backend that asks for a scope, whose body is text. */
  scoped: string;
}

/** Serves clients that show the message of a JSON-RPC error. */
export const whole = (message: string): string => message;

/** Declares tests of the errors that a client shows for cambist's refusals. */
export function declareErrorTests(sdk: AgentSdk, shown: Shown): void {
  for (const [tool, text] of [
    ['forbidden', shown.forbidden(messageOf('ERR_EXCHANGE_REFUSED'))],
    ['unreachable', shown.unreachable(messageOf('ERR_UPSTREAM_UNREACHABLE'))],
    ['signed_out', shown.signedOut(messageOf('ERR_SUBJECT_TOKEN_INVALID'))],
    ['scoped', shown.scoped],
  ] as const) {
    test(`${sdk.name}: shows the error of the tool "${tool}"`, async (t) => {
      const { client } = await connect(t, sdk);
      assertShows(await errorOf(client.call(tool)), text);
    });
  }

  test(`${sdk.name}: shows a 401 to its first request`, async (t) => {
    const { server, url } = await startRefusingSetup(t);
    server.exchange = () => ({ kind: 'response', status: 400, body: { error: 'invalid_grant' } });
    const text = shown.signedOut(messageOf('ERR_SUBJECT_TOKEN_INVALID'));
    assertShows(await errorOf(sdk.connect(url, await server.mint())), text);
  });
}

/** Declares tests of the OAuth flow of a client. @param signedOut shown if a new sign-in does not help */
export function declareSignInTests(sdk: AgentSdk, signedOut: (message: string) => string): void {
  test(`${sdk.name}: signs the user in for the scopes that cambist names`, async (t) => {
    const { client, server, url } = await connect(t, sdk);
    assert.deepEqual(scopesOf(server), [SCOPES]);
    assert.deepEqual([server.signIns[0]?.clientId, server.signIns[0]?.resource], ['agent', url]);
    assert.equal(await client.call('echo', { message: 'hi' }), 'hi');
  });

  test(`${sdk.name}: signs the user in again after a 401`, async (t) => {
    const { client, server } = await connect(t, sdk);
    assertShows(await errorOf(client.call('signed_out')), signedOut(messageOf('ERR_SUBJECT_TOKEN_INVALID')));
    assert.deepEqual(scopesOf(server), [SCOPES, SCOPES]);
  });

  test(`${sdk.name}: does not sign the user in for a scope that only the backend knows`, async (t) => {
    const { client, server } = await connect(t, sdk);
    await errorOf(client.call('scoped'));
    assert.equal(server.signIns.length, 1);
  });
}

const SCOPES = SCOPE.split(' ').sort();

/** The scopes of each sign-in. Their order varies with the Go SDK. */
function scopesOf({ signIns }: SignInServer): (string[] | undefined)[] {
  return signIns.map(({ scope }) => scope?.split(' ').sort());
}

function messageOf(code: ErrorCode): string {
  return `${code}: ${describeError(code).detail}`;
}

function assertShows(error: string, text: string): void {
  assert.ok(error.includes(text), `shown: ${error}\nexpected: ${text}`);
}

async function errorOf(calling: Promise<unknown>): Promise<string> {
  return calling.then(
    (result) => `no error: ${JSON.stringify(result)}`,
    (error: unknown) => (error as Error).message,
  );
}

async function connect(t: TestContext, sdk: AgentSdk) {
  const setup = await startRefusingSetup(t);
  const token = await setup.server.mint();
  const client = await sdk.connect(setup.url, token);
  t.after(() => client.close().catch(() => {}));
  return { ...setup, client, token };
}

async function startConsent(t: TestContext) {
  const setup = await startConsentSetup(t);
  const app = await startTestApp(t, setup.config);
  const consent = async (url: string) => {
    assert.match(await consentAt(url, 'alice', setup.site.ca), /Connected/);
  };
  return { url: `${app.url}/mcp`, token: await setup.server.mint(), consent };
}

/** Declares a test of a client that opens the URL during the call, as MCP 2026-07-28 has it. */
export function declareVisitTest(sdk: VisitingSdk): void {
  test(`${sdk.name}: the user opens the URL and consents, and the call goes on`, async (t) => {
    const { url, token, consent } = await startConsent(t);
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
    const { url, token, consent } = await startConsent(t);
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
