import type { CambistError } from '../errors.ts';
import type { Broker } from '../tokens/broker.ts';
import { obtainSecret } from '../tokens/route-secret.ts';
import { type DiagnosisOptions, explainRefusal, RefusedResponse, signInWanted } from './backend-failure.ts';
import { followUpOf } from './follow-up.ts';
import type { RawHeaders } from './headers.ts';
import type { RequestRecord } from './request-record.ts';

export interface RefusalOptions extends DiagnosisOptions {
  readonly broker: Broker;
}

/** A data plane has the body. */
const BODY = { content: null, replay: () => undefined };

/**
 * Drops the token of a request that a data plane sent, and that its backend refused with 401. `upstream-call.ts` does the same for its own attempts.
 * @param hasSecondToken the request was sent with another token before
 * @returns the error for the caller. Undefined: the request had no token, and the 401 is for the caller
 */
export async function refuseToken(
  { route, session, token }: RequestRecord,
  headers: RawHeaders,
  hasSecondToken: boolean,
  options: RefusalOptions,
): Promise<CambistError | undefined> {
  if (route === undefined || session === undefined || token === undefined) return undefined;
  const next = followUpOf({ prepared: { route, session, body: BODY }, token, hasSecondToken }, 401, headers, false);
  if (next.kind === 'sign_in') return signInWanted(route, next.authentication, token);
  const refused = new RefusedResponse(token, headers);
  refused.end();
  let ending = 'and the next request gets another one';
  if (next.kind === 'fail') ending = next.ending;
  else if (next.kind === 'retry_with_new_secret') await obtainSecret(route, session, true);
  else if (!options.broker.refuse(route, session, token)) ending = 'as it refused the previous one a moment ago';
  return explainRefusal(route, ending, refused, options);
}
