import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import type { AcceptedToken } from '../../../src/tokens/accept-token.ts';
import { createOwnTokens } from '../../../src/tokens/own-tokens.ts';
import type { TokenEndpoint } from '../../../src/tokens/token-endpoint.ts';
import type { TokenRequest } from '../../../src/tokens/token-request.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const SERVER = { name: 'idp' } as AuthorizationServer;
const MINUTE = 60_000;

test('reuses a token for each server and scope until it expires or is dropped', async () => {
  const clock = createFakeClock();
  const requests: TokenRequest[] = [];
  const endpoint: TokenEndpoint = {
    prepare: async () => {},
    async exchange(request) {
      requests.push(request);
      const lifetime = {
        reusableUntilMs: clock.monotonicMs() + MINUTE,
        expiresAtMs: clock.wallMs() + MINUTE,
      };
      return { accessToken: `token-${requests.length}`, lifetime } as AcceptedToken;
    },
  };
  const tokens = createOwnTokens(() => endpoint, clock);
  const obtain = (scope?: string) => tokens.obtain(SERVER, scope, '_signals');
  assert.equal(await obtain('a'), 'Bearer token-1');
  assert.equal(await obtain('a'), 'Bearer token-1');
  assert.equal(await obtain(), 'Bearer token-2');
  clock.advance(MINUTE);
  assert.equal(await obtain('a'), 'Bearer token-3');
  tokens.drop(SERVER, 'a');
  assert.equal(await obtain('a'), 'Bearer token-4');
  clock.jumpWall(2 * MINUTE);
  assert.equal(await obtain('a'), 'Bearer token-5');
  const [first] = requests;
  assert.deepEqual([first?.grantKind, first?.target.scope, first?.routeName], ['client_credentials', 'a', '_signals']);
  assert.equal(first?.requester.caller, undefined);
});
