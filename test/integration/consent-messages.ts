import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { CONSENT_REFUSAL, CONSENT_URL, INTERACTION } from '../harness/consent.ts';
import { type GatewayOptions, startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { problemOf } from '../harness/problem.ts';

export interface Message {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A gateway whose authorization server wants the user's consent until `consent` is called. */
export async function startConsent(t: TestContext, { route = {}, top, ...options }: GatewayOptions = {}) {
  const gateway = await startGateway(t, {
    ...options,
    route: { resource: 'https://mcp.github.example/mcp', ...route },
    top: top ?? { interaction: INTERACTION },
  });
  gateway.authorizationServer.behaviour = CONSENT_REFUSAL;
  const { app, authorization, authorizationServer } = gateway;
  return {
    ...gateway,
    consent: () => {
      authorizationServer.behaviour = { kind: 'issue' };
    },
    send: ({ headers, body }: Message, more: Record<string, string> = {}) =>
      call(`${app.url}/github`, { method: 'POST', headers: { authorization, ...headers, ...more }, body }),
  };
}

export type Setup = Awaited<ReturnType<typeof startConsent>>;

/** The requestState of an input-required result. */
export async function stateOf({ send }: Setup, message: Message): Promise<string> {
  const { status, text } = await send(message);
  assert.equal(status, 200);
  const { result } = JSON.parse(text);
  assert.equal(result.resultType, 'input_required');
  return result.requestState;
}

/** The same message, as the client sends it after the user consented. */
export function retryOf({ headers, body }: Message, requestState: string, action = 'accept', more = {}): Message {
  const { params, ...message } = JSON.parse(body);
  const inputResponses = { 'cambist-consent': { action }, ...more };
  return { headers, body: JSON.stringify({ ...message, id: 2, params: { ...params, inputResponses, requestState } }) };
}

export const forwarded = async ({ upstream }: Setup) => String(await upstream.requests.at(-1)?.body());

export function assertConsentProblem(response: Parameters<typeof problemOf>[0] & { status: number }): void {
  const { code, detail, interaction_uri: url } = problemOf(response);
  assert.ok(String(detail).endsWith(`: open ${CONSENT_URL}`), String(detail));
  assert.deepEqual([response.status, code, url], [403, 'ERR_CONSENT_REQUIRED', CONSENT_URL]);
}
