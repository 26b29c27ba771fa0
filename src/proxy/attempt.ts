import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Route } from '../config/config.ts';
import type { CambistError } from '../errors.ts';
import { streamRewriter, turnHeaders } from './caller-view.ts';
import { insufficientScope } from './challenges.ts';
import { callerHeaders, headerValues, without } from './headers.ts';
import type { Passage } from './passage.ts';
import { createRelay, type Relay } from './relay.ts';
import { upstreamError } from './upstream-error.ts';

/** Called once: with what went wrong before there was an answer, or with the answer's head. */
export type Answered = (error: CambistError | null, relay?: Relay) => void;

/** Called once, where the upstream has switched to another protocol. @param headers as the caller gets them */
export type Switched = (protocol: string | undefined, headers: readonly string[], far: Duplex) => void;

/** What one attempt tells whoever made it. */
export interface AttemptEvents {
  /** Asked right before the first byte goes out. @returns false where another attempt takes the place of this one */
  readonly mayStart: () => boolean;
  readonly answered: Answered;
  readonly switched: Switched | undefined;
  /**
   * The token was refused by 401, and the answer is dropped. Undefined: such an answer is the caller's.
   * @param wantsNonce it was not the token but its proof, which has to bear the nonce of this answer
   */
  readonly onRefused: ((wantsNonce: boolean) => void) | undefined;
  /** Takes the `DPoP-Nonce` of each answer. @returns whether there was a usable one */
  readonly onNonce: ((nonce: string | undefined) => boolean) | undefined;
  /**
   * The token lacks scopes; the answer waits.
   * @returns undefined where the answer is the caller's; else whether another attempt was made in its place
   */
  readonly onInsufficientScope: ((scopes: readonly string[]) => Promise<boolean> | undefined) | undefined;
}

/** A refused token's answer is read to its end up to this size, so that the connection can be used again. */
const MAX_DISCARDED_BYTES = 64 * 1024;

/** What a 204 may not have (RFC 9110 section 8.6). */
const LENGTH: ReadonlySet<string> = new Set(['content-length']);
/** For the proofs that cambist makes; a caller's own are for another (RFC 9449 section 8.2). */
const NONCE: ReadonlySet<string> = new Set(['dpop-nonce']);

const NO_CONTENT = 204;

/** One attempt: its answer is relayed, or leads to the next. */
export function attemptHandler(passage: Passage, route: Route, events: AttemptEvents): Dispatcher.DispatchHandler {
  const { mayStart, answered, switched, onRefused, onNonce, onInsufficientScope } = events;
  let relay: Relay | undefined;
  /** `waiting`: it is not clear yet whose the answer is. */
  let state: 'relaying' | 'waiting' | 'discarding' = 'relaying';
  let discarded = 0;
  let failure: Error | undefined;
  let abort: (() => void) | undefined;
  /** The answer ended while it was not clear yet what becomes of it: one without a body. */
  let ended = false;

  function begin(controller: Dispatcher.DispatchController, status: number): void {
    let given = callerHeaders((controller.rawHeaders ?? []) as string[]);
    if (status === NO_CONTENT) given = without(given, LENGTH);
    if (onNonce !== undefined) given = without(given, NONCE);
    const headers = turnHeaders(given, passage, route);
    const header = (name: string): string | undefined => headerValues(headers, name)[0];
    const rewriter = streamRewriter(passage, route, status, header);
    relay = createRelay(controller, status, headers, () => passage.request.complete, rewriter);
    passage.leg?.bearer?.answered(status, header);
    answered(null, relay);
  }

  function discard(controller: Dispatcher.DispatchController): void {
    state = 'discarding';
    // The next attempt takes this one's place in `passage.abort`, and this one's answer may have no end.
    passage.response.once('close', () => controller.abort(new Error('the request was answered')));
  }

  function wait(controller: Dispatcher.DispatchController, status: number, pending: Promise<boolean>): void {
    state = 'waiting';
    controller.pause();
    const settled = pending.then((goesOn) => {
      if (goesOn) discard(controller);
      else {
        state = 'relaying';
        if (failure === undefined) {
          begin(controller, status);
          if (ended) relay?.end();
        } else {
          answered(upstreamError(failure, route.name));
        }
      }
      controller.resume();
    });
    settled.catch((error: Error) => answered(upstreamError(error, route.name)));
  }

  return {
    onRequestStart(controller) {
      abort = () => controller.abort(new Error('the caller went away'));
      if (passage.gone) {
        abort();
      } else if (mayStart()) {
        passage.abort = abort;
      } else {
        state = 'discarding';
        controller.abort(new Error('its token has ended'));
      }
    },
    onRequestUpgrade(controller, _status, headers, socket) {
      passage.abort = undefined;
      switched?.(headers.upgrade?.toString(), callerHeaders((controller.rawHeaders ?? []) as string[]), socket);
    },
    onResponseStart(controller, status, headers) {
      if (status < 200) return;
      const coding = headers['transfer-encoding'];
      if (coding !== undefined && String(coding).toLowerCase() !== 'chunked') {
        // Nobody offered to take any other, and what is in it would reach the caller undecoded.
        controller.abort(new Error('a transfer coding that is not chunked'));
        return;
      }
      const hasNonce = onNonce?.(headers['dpop-nonce']?.toString()) === true;
      if (status === 401 && onRefused !== undefined) {
        discard(controller);
        // RFC 9449 section 9.
        onRefused(hasNonce && /\buse_dpop_nonce\b/.test(String(headers['www-authenticate'])));
        return;
      }
      if (status === 403 && onInsufficientScope !== undefined) {
        const scopes = insufficientScope([headers['www-authenticate'] ?? []].flat());
        const pending = scopes === undefined ? undefined : onInsufficientScope(scopes);
        if (pending !== undefined) {
          wait(controller, status, pending);
          return;
        }
      }
      begin(controller, status);
    },
    onResponseData(controller, chunk) {
      if (state === 'relaying') {
        relay?.data(chunk);
        return;
      }
      discarded += chunk.length;
      if (discarded > MAX_DISCARDED_BYTES) controller.abort(new Error('the answer of a refused request is too long'));
    },
    onResponseEnd() {
      if (state === 'waiting') ended = true;
      // There is nothing left to abort, and the error for it would cost each request more than its admission does.
      if (passage.abort === abort) passage.abort = undefined;
      relay?.end();
    },
    onResponseError(_controller, error) {
      if (state === 'waiting') failure = error;
      if (state !== 'relaying') return;
      if (relay === undefined) answered(upstreamError(error, route.name));
      else relay.fail();
    },
  };
}
