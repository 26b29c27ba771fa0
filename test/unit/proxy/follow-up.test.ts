import assert from 'node:assert/strict';
import { test } from 'node:test';
import { followUpOf } from '../../../src/proxy/follow-up.ts';
import type { AttemptPlan } from '../../../src/proxy/steps.ts';

const BODY = Buffer.from('{}');
const SCOPES = ['www-authenticate', 'Bearer error="insufficient_scope", scope="repo"'];
const NONCE = ['www-authenticate', 'DPoP error="use_dpop_nonce"'];
const SIGN_IN = ['www-authenticate', 'Bearer error="insufficient_user_authentication", max_age="5"'];

interface Case {
  readonly status: number;
  readonly headers?: string[];
  /** By default, a token from the caller's own. */
  readonly credential?: 'exchange' | 'client_credentials' | 'secret' | 'none';
  readonly mayStepUp?: boolean;
  readonly isTooLarge?: boolean;
  readonly hasNewToken?: boolean;
  readonly hasNonce?: boolean;
  readonly hasFreshNonce?: boolean;
}

function followUp(of: Case) {
  const { status, headers = [], credential = 'exchange', mayStepUp = true, isTooLarge = false, ...flags } = of;
  const plan = {
    prepared: {
      route: { credential: { kind: credential }, subjectToken: {}, stepUp: mayStepUp ? ['repo'] : [] },
      session: { subject: {} },
      body: { replay: () => (isTooLarge ? undefined : BODY) },
    },
    token: credential === 'none' ? undefined : {},
    hasNewToken: flags.hasNewToken ?? false,
    hasNonce: flags.hasNonce ?? false,
  } as unknown as AttemptPlan;
  const { token: _token, ...next } = {
    token: undefined,
    ...followUpOf(plan, status, headers, flags.hasFreshNonce ?? false),
  };
  return next;
}

const relay = { kind: 'relay' };
const newToken = { kind: 'retry_with_new_token' };
const newSecret = { kind: 'retry_with_new_secret' };
const nonce = { kind: 'retry_with_nonce', content: BODY };
const stepUp = { kind: 'step_up', scopes: ['repo'], content: BODY };
const signIn = { kind: 'sign_in', authentication: { maxAge: 5 } };
const fail = (ending: string) => ({ kind: 'fail', ending });

const CASES: readonly [name: string, response: Case, next: object][] = [
  ['relays a success', { status: 200 }, relay],
  ['relays a failure of the backend', { status: 503 }, relay],
  ['relays a 401 where it sent no token', { status: 401, credential: 'none' }, relay],
  ['relays a 403 where it sent no token', { status: 403, credential: 'none', headers: SCOPES }, relay],
  ['gets a new token after a 401', { status: 401 }, newToken],
  ['gets a new token even where the request cannot be repeated', { status: 401, isTooLarge: true }, newToken],
  ['reads a refused secret again', { status: 401, credential: 'secret' }, newSecret],
  ['fails after two tokens were refused', { status: 401, hasNewToken: true }, fail('and the next one as well')],
  [
    'fails after two secrets were refused',
    { status: 401, hasNewToken: true, credential: 'secret' },
    fail('and the next one as well'),
  ],
  ['repeats a proof that lacked a nonce', { status: 401, headers: NONCE, hasFreshNonce: true }, nonce],
  [
    'repeats the proof for a new token as well',
    { status: 401, headers: NONCE, hasFreshNonce: true, hasNewToken: true },
    nonce,
  ],
  ['asks for a new token where a challenge has no usable nonce', { status: 401, headers: NONCE }, newToken],
  ['ignores a nonce that no challenge asks for', { status: 401, hasFreshNonce: true }, newToken],
  [
    'asks for a new token after a second nonce',
    { status: 401, headers: NONCE, hasFreshNonce: true, hasNonce: true },
    newToken,
  ],
  [
    'fails where a request for a nonce cannot be repeated',
    { status: 401, headers: NONCE, hasFreshNonce: true, isTooLarge: true },
    fail('because its proof lacked a nonce, and the request is too large to be sent again'),
  ],
  ['passes on a wish for another sign-in', { status: 401, headers: SIGN_IN }, signIn],
  ['passes it on after a new token too', { status: 401, headers: SIGN_IN, hasNewToken: true }, signIn],
  [
    'does not ask a caller to sign in again for a token that is not made from its own',
    { status: 401, headers: SIGN_IN, credential: 'client_credentials' },
    newToken,
  ],
  ['steps up after a 403 that asks for scopes', { status: 403, headers: SCOPES }, stepUp],
  ['relays a 403 that asks for none', { status: 403 }, relay],
  ['relays a 403 on a route without step-up', { status: 403, headers: SCOPES, mayStepUp: false }, relay],
  ['relays a 403 to a new token', { status: 403, headers: SCOPES, hasNewToken: true }, relay],
  ['relays a 403 where the request cannot be repeated', { status: 403, headers: SCOPES, isTooLarge: true }, relay],
];

for (const [name, response, next] of CASES) {
  test(name, () => {
    assert.deepEqual(followUp(response), next);
  });
}
