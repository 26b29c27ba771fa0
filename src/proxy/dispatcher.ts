import type { Dispatcher } from 'undici';
import type { Route } from '../config/config.ts';
import type { Dispatchers } from '../dispatchers.ts';
import { CambistError } from '../errors.ts';
import type { IssuedToken } from '../tokens/issued.ts';
import { streamRewriter, turnHeaders } from './caller-view.ts';
import { callerHeaders, headerValues } from './headers.ts';
import type { Passage, UpstreamLeg } from './passage.ts';
import { createRelay, type Relay } from './relay.ts';
import { upstreamError } from './upstream-error.ts';

/** Called once: with what went wrong before there was an answer, or with the answer's head. */
export type Answered = (error: CambistError | null, relay?: Relay) => void;

/** A refused token's answer is read to its end up to this size, so that the connection can be used again. */
const MAX_DISCARDED_BYTES = 64 * 1024;

/**
 * Sends a request upstream with the scoped bearer, and once more with a new one where the upstream says 401 to the first.
 * @param onRetry is told of each second attempt
 */
export async function dispatch(
  passage: Passage,
  leg: UpstreamLeg,
  route: Route,
  dispatchers: Dispatchers,
  onRetry: () => void,
  answered: Answered,
): Promise<void> {
  const found = dispatchers.for(upstreamPeer(route));
  const pool = found instanceof Promise ? await found : found;
  const send = (token: IssuedToken | undefined, content: UpstreamLeg['body']['content'], first: boolean): void => {
    const headers = token === undefined ? leg.headers : [...leg.headers, 'authorization', token.authorization.reveal()];
    const options = {
      origin: route.upstream.origin,
      path: leg.path,
      method: passage.request.method as Dispatcher.HttpMethod,
      headers: headers as string[],
      body: content as Dispatcher.DispatchOptions['body'] & {},
      headersTimeout: route.timeouts.responseHeadersMs,
    };
    pool.dispatch(options, attemptHandler(passage, route, first, token !== undefined, onRefused, answered));
  };
  const onRefused = (): void => {
    const content = leg.body.replay();
    const { bearer } = leg;
    if (bearer === undefined) return;
    if (content === undefined) {
      bearer.refuse();
      answered(refusedToken(route, 'and its request is too large to be sent again'));
      return;
    }
    onRetry();
    bearer.renew().then(
      (token) => send(token, content, false),
      (error: unknown) => answered(error instanceof CambistError ? error : upstreamError(error as Error, route.name)),
    );
  };
  send(leg.bearer?.token, leg.body.content, true);
}

/** How a route's upstream is connected to. */
export function upstreamPeer(route: Route): Parameters<Dispatchers['for']>[0] {
  return { name: `route "${route.name}"`, tls: route.tls, connectMs: route.timeouts.connectMs };
}

function refusedToken(route: Route, more: string): CambistError {
  return new CambistError(
    'ERR_UPSTREAM_REFUSED_TOKEN',
    `route "${route.name}": the upstream refused a token that was issued for it, ${more}: see which issuer, audience and ` +
      'scope it wants',
  );
}

/** One attempt: its answer is relayed, or is the 401 that leads to the next. */
function attemptHandler(
  passage: Passage,
  route: Route,
  first: boolean,
  withBearer: boolean,
  onRefused: () => void,
  answered: Answered,
): Dispatcher.DispatchHandler {
  let relay: Relay | undefined;
  let refused = false;
  let discarded = 0;

  return {
    onRequestStart(controller) {
      const abort = (): void => controller.abort(new Error('the caller went away'));
      if (passage.gone) abort();
      else passage.abort = abort;
    },
    onResponseStart(controller, status) {
      if (status < 200) return;
      if (status === 401 && withBearer) {
        refused = true;
        // The next attempt takes this one's place in `passage.abort`, and this one's answer may have no end.
        passage.response.once('close', () => controller.abort(new Error('the request was answered')));
        if (first) onRefused();
        else answered(refusedToken(route, 'and the next one too'));
        return;
      }
      const headers = turnHeaders(callerHeaders((controller.rawHeaders ?? []) as Buffer[]), passage, route);
      const header = (name: string): string | undefined => headerValues(headers, name)[0];
      const rewriter = streamRewriter(passage, route, status, header);
      const begun = createRelay(controller, status, headers, () => passage.request.complete, rewriter);
      relay = begun;
      passage.leg?.bearer?.answered(status, header);
      answered(null, begun);
    },
    onResponseData(controller, chunk) {
      if (!refused) {
        relay?.data(chunk);
        return;
      }
      discarded += chunk.length;
      if (discarded > MAX_DISCARDED_BYTES) controller.abort(new Error('the answer of a refused request is too long'));
    },
    onResponseEnd() {
      relay?.end();
    },
    onResponseError(_controller, error) {
      if (refused) return;
      if (relay === undefined) answered(upstreamError(error, route.name));
      else relay.fail();
    },
  };
}
