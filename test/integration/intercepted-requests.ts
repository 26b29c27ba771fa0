import assert from 'node:assert/strict';
import { INTERCEPTED, type InterceptedGateway } from '../harness/intercepted.ts';
import { sumSamples } from '../harness/metric-samples.ts';

/** A request whose response closes the connection. */
export function get({ authorization }: InterceptedGateway, path = '/mcp/x', host = INTERCEPTED, headers = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\n${headers}Connection: close\r\n\r\n`;
}

export const failures = async ({ app }: InterceptedGateway, cause: string): Promise<number> =>
  sumSamples(await app.metrics(), 'cambist_handshake_failures_total', { cause });

/** Nothing left cambist: neither to the authorization server nor to the upstream. */
export function assertNothingSent({ upstream, authorizationServer }: InterceptedGateway): void {
  assert.equal(upstream.requests.length, 0);
  assert.equal(authorizationServer.requests.length, 0);
}
