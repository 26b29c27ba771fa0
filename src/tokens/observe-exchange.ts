import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import type { AcceptedToken } from './accept-token.ts';
import type { TokenRequest } from './token-request.ts';

/**
 * Runs an exchange in a span, and reports its outcome.
 * @throws {CambistError} the error of the exchange; ERR_INTERNAL for any other error
 */
export async function observeExchange(
  serverName: string,
  { routeName, grantKind, refresh, cause, target, subject, isSubjectVerified = false }: TokenRequest,
  observer: TokenObserver,
  clock: Clock,
  exchange: () => Promise<AcceptedToken>,
): Promise<AcceptedToken> {
  const startedMs = clock.monotonicMs();
  const span = cause?.span?.child('exchange', {
    'cambist.route': routeName,
    'cambist.authorization_server': serverName,
    'cambist.grant': grantKind,
    'cambist.refresh': refresh,
  });
  let failure: CambistError | undefined;
  let token: AcceptedToken | undefined;
  try {
    token = await exchange();
    return token;
  } catch (error) {
    failure =
      error instanceof CambistError ? error : new CambistError('ERR_INTERNAL', 'an exchange failed', { cause: error });
    throw failure;
  } finally {
    span?.end({}, failure?.code);
    observer.exchangeFinished({
      route: routeName,
      authorizationServer: serverName,
      grant: grantKind,
      refresh,
      cause,
      error: failure,
      isForOthers: token?.isForOthers === true,
      durationMs: clock.monotonicMs() - startedMs,
      target,
      subject,
      isSubjectVerified,
      actor: token?.actor,
      issued: token?.claims,
    });
  }
}
