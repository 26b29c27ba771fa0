import type { AuthenticationRequirements } from '../errors.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { asksForNonce, authenticationWanted, insufficientScope } from './challenges.ts';
import { headerValues, type RawHeaders } from './headers.ts';
import { isMadeFromCallers } from './obtain-token.ts';
import type { AttemptPlan } from './steps.ts';

export type FollowUp = { readonly kind: 'relay' } | StepUp | After401;

/** The retry has a token with more scopes. If no such token is issued, the caller gets the 403. */
export interface StepUp {
  readonly kind: 'step_up';
  readonly token: IssuedToken;
  readonly scopes: readonly string[];
  readonly content: Buffer | null;
}

/** The step after a 401 to a token. Such a 401 is never relayed. */
export type After401 = {
  readonly token: IssuedToken;
} & (
  | { readonly kind: 'retry_with_nonce'; readonly content: Buffer | null }
  | { readonly kind: 'retry_with_new_token' | 'retry_with_new_secret' }
  | { readonly kind: 'sign_in'; readonly authentication: AuthenticationRequirements }
  /** @param ending of the error's sentence: the reason for making no further attempt */
  | { readonly kind: 'fail'; readonly ending: string }
);

const RELAY: FollowUp = { kind: 'relay' };

/** The facts of an attempt that a decision goes by. */
type Attempted = Pick<AttemptPlan, 'token' | 'hasSecondToken' | 'hasNonce'> & {
  readonly prepared: Pick<AttemptPlan['prepared'], 'route' | 'session' | 'body'>;
};

/**
 * Decides what follows a response. A request gets another token once: after a 401, or with more scopes after a 403 that asks for
 * them. Each token gets one retry with a nonce that its DPoP proof lacked.
 * @param hasFreshNonce the response has a nonce for the next proof
 */
export function followUpOf(plan: Attempted, status: number, headers: RawHeaders, hasFreshNonce: boolean): FollowUp {
  const { token, hasSecondToken } = plan;
  if (token === undefined) return RELAY;
  if (status === 401) return after401(plan, token, headerValues(headers, 'www-authenticate'), hasFreshNonce);
  if (status === 403 && !hasSecondToken) return stepUpOf(plan, token, headers) ?? RELAY;
  return RELAY;
}

function after401(
  { prepared, hasSecondToken, hasNonce }: Attempted,
  token: IssuedToken,
  challenges: readonly string[],
  hasFreshNonce: boolean,
): After401 {
  // The proof was refused, not the token.
  if (hasFreshNonce && !hasNonce && asksForNonce(challenges)) {
    const content = prepared.body.replay();
    if (content !== undefined) return { kind: 'retry_with_nonce', token, content };
    return {
      kind: 'fail',
      token,
      ending: 'because its proof lacked a nonce, and the request cannot be sent again',
    };
  }
  // A backend that asks for a sign-in accepted the token. Another one made from the same caller's token would be no better.
  const authentication = isMadeFromCallers(prepared) ? authenticationWanted(challenges) : undefined;
  if (authentication !== undefined) return { kind: 'sign_in', token, authentication };
  if (hasSecondToken) return { kind: 'fail', token, ending: 'and a request gets at most two' };
  const isSecret = prepared.route.credential.kind === 'secret';
  return { kind: isSecret ? 'retry_with_new_secret' : 'retry_with_new_token', token };
}

/** @returns undefined where the response asks for nothing that a retry could have */
function stepUpOf(
  { prepared: { route, body } }: Attempted,
  token: IssuedToken,
  headers: RawHeaders,
): StepUp | undefined {
  if (route.stepUp.length === 0) return undefined;
  const scopes = insufficientScope(headerValues(headers, 'www-authenticate'));
  const content = scopes && body.replay();
  return scopes && content !== undefined ? { kind: 'step_up', token, scopes, content } : undefined;
}
