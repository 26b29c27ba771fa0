import { type Finding, problem } from './finding.ts';
import { place } from './metadata.ts';
import { type FailedExchange, isEntra } from './oauth-error.ts';

/** Who acts is to be named, too: PingFederate where its policy says so, ZITADEL where the subject is a JWT of others. */
export function actorToken({ answer, refusal }: FailedExchange): Finding | undefined {
  if (!/actor[_ ]token/i.test(refusal.description)) return undefined;
  if (!answer.form.has('actor_token')) {
    return problem('actor_token_required', `the server wants an actor token, and none was sent: ${refusal.shown}`, {
      why: 'its policy lets nobody act for a user without saying who acts',
      fix: "set the route's actor_token.file to a token of this workload that the server trusts, or have the policy not require one (PingFederate: Actor Token Required; ZITADEL: only where subject_token.type is jwt)",
    });
  }
  return problem('actor_token_refused', `the actor token is refused: ${refusal.shown}`, {
    why: 'it is of another issuer, audience or type than the server takes; the usual service-account token of a pod is not made for it',
    fix: "let actor_token.file be a projected service-account token whose audience is the server, and see the route's actor_token.type",
  });
}

/** Without it Entra takes the assertion for something else. */
export function onBehalfOf(refused: FailedExchange): Finding | undefined {
  const { server, answer, refusal } = refused;
  if (!isEntra(refused) || !answer.form.has('assertion') || answer.form.has('requested_token_use')) return undefined;
  return problem('on_behalf_of_missing', `the request does not say on whose behalf it is: ${refusal.shown}`, {
    why: 'Entra wants requested_token_use beside the assertion',
    fix: `set ${place(server)}.extra_params: { requested_token_use: on_behalf_of }`,
  });
}
