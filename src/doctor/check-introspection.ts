import type { SubjectVerification } from '../config/verification.ts';
import { toSubject } from '../tokens/subject.ts';
import type { CheckContext } from './check-context.ts';
import { credentialFinding, failureOf } from './check-server.ts';
import { type Found, fine, problem } from './finding.ts';

/** Not a token of any server. */
const MADE_UP = 'cambist-doctor-made-up-token';

/**
 * Asks about a made-up token, as the proxy does about a caller's.
 * @param name of the authorization server
 * @returns whether tokens can be introspected
 */
export async function checkIntrospection(
  rules: SubjectVerification,
  name: string,
  { verifier }: CheckContext,
  found: Found,
): Promise<boolean> {
  const keysFailure = await failureOf(() => verifier.prepare(rules));
  const failure =
    keysFailure ?? (await failureOf(async () => verifier.verify(toSubject(MADE_UP), { ...rules, jwksUri: undefined })));
  if (failure?.code === 'ERR_SUBJECT_TOKEN_INVALID') {
    found(fine('introspection_works', `authorization server "${name}" says that a made-up token is not active`));
    return true;
  }
  if (failure === undefined) {
    found(
      problem('introspection_unusable', `authorization server "${name}" says that a made-up token is active`, {
        fix: 'check introspection.endpoint: the endpoint must tell active tokens from others',
      }),
    );
  } else if (failure.code === 'ERR_CREDENTIAL_UNAVAILABLE') found(credentialFinding(failure));
  else {
    found(
      problem('introspection_unusable', `subject tokens cannot be introspected: ${failure.message}`, {
        fix:
          failure.code === 'ERR_CLIENT_REFUSED'
            ? `allow the client of authorization_servers.${name} to introspect tokens, and check its client_auth`
            : `check introspection.endpoint, and that authorization server "${name}" can be reached from here`,
      }),
    );
  }
  return false;
}
