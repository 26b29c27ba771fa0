import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Route } from '../config/config.ts';
import type { CambistError } from '../errors.ts';
import type { IssuedToken } from '../tokens/issued.ts';
import type { RawHandler } from '../transport/http1/upstream-request.ts';
import { streamRewriter, turnHeaders } from './caller-view.ts';
import { insufficientScope } from './challenges.ts';
import { callerHeaders, without } from './forwarded-headers.ts';
import { headerValues, type RawHeaders } from './headers.ts';
import type { Passage, UpstreamLeg } from './passage.ts';
import { createRelay, type Relay } from './relay.ts';
import { upstreamError } from './upstream-error.ts';

/** Called once: with what went wrong before there was an answer, or with the answer's head. */
export type Answered = (error: CambistError | null, relay?: Relay) => void;

/** Called once, where the upstream has switched to another protocol. @param headers as the caller gets them */
export type Switched = (protocol: string | undefined, headers: readonly string[], far: Duplex) => void;

/** What one attempt sends. */
export interface Trial {
  /** Undefined on a route that sends none of ours. */
  readonly token: IssuedToken | undefined;
  readonly content: UpstreamLeg['body']['content'];
  /** No other has borne another token. */
  readonly isFirst: boolean;
  /** Its proof bears the nonce that the upstream has asked for. */
  readonly hasNonce: boolean;
}

/** What attempts tell whoever makes them. */
export interface AttemptEvents {
  readonly answered: Answered;
  readonly switched: Switched | undefined;
  /** Asked right before the first byte goes out. @returns false where another attempt takes the place of this one */
  mayStart(trial: Trial): boolean;
  /** It starts once more: the upstream has said that it has not looked at it (RFC 9113 section 8.7). */
  resent(): void;
  /**
   * The token was refused by 401, and the answer is dropped.
   * @param wantsNonce it was not the token but its proof, which has to bear the nonce of this answer
   */
  refused(trial: Trial, wantsNonce: boolean): void;
  /** Takes the `DPoP-Nonce` of an answer. @returns whether there was a usable one */
  learnNonce(trial: Trial, nonce: string | undefined): boolean;
  /**
   * The token lacks scopes; the answer waits.
   * @returns undefined where the answer is the caller's; else whether another attempt was made in its place
   */
  insufficientScope(scopes: readonly string[]): Promise<boolean> | undefined;
}

/** A refused token's answer is read to its end up to this size, so that the connection can be used again. */
const MAX_DISCARDED_BYTES = 64 * 1024;

/** What a 204 may not have (RFC 9110 section 8.6). */
const LENGTH: ReadonlySet<string> = new Set(['content-length']);
/** For the proofs that cambist makes; a caller's own are for another (RFC 9449 section 8.2). */
const NONCE: ReadonlySet<string> = new Set(['dpop-nonce']);

const NO_CONTENT = 204;

type Controller = Dispatcher.DispatchController;

/**
 * One attempt, as undici's handler: its answer is relayed, or leads to the next. A class, as there is one for each request, and
 * functions would be made for each.
 */
export class Attempt implements RawHandler {
  readonly readsRawHeaders = true;
  readonly #passage: Passage;
  readonly #route: Route;
  readonly #trial: Trial;
  readonly #events: AttemptEvents;
  #relay: Relay | undefined;
  /** `waiting`: it is not clear yet whose the answer is. */
  #state: 'relaying' | 'waiting' | 'discarding' = 'relaying';
  #discardedBytes = 0;
  #failure: Error | undefined;
  #abort: (() => void) | undefined;
  /** The answer ended while it was not clear yet what becomes of it: one without a body. */
  #hasEnded = false;

  constructor(passage: Passage, route: Route, trial: Trial, events: AttemptEvents) {
    this.#passage = passage;
    this.#route = route;
    this.#trial = trial;
    this.#events = events;
  }

  onRequestStart(controller: Controller): void {
    const isResent = this.#abort !== undefined;
    const abort = (): void => controller.abort(new Error('the caller went away'));
    this.#abort = abort;
    if (this.#passage.gone) {
      abort();
    } else if (this.#events.mayStart(this.#trial)) {
      this.#passage.abort = abort;
      if (isResent) this.#events.resent();
    } else {
      this.#state = 'discarding';
      controller.abort(new Error('its token has ended'));
    }
  }

  onRequestUpgrade(controller: Controller, _status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    this.#passage.abort = undefined;
    this.#events.switched?.(headers.upgrade?.toString(), callerHeaders(rawHeaders(controller)), socket);
  }

  onResponseStart(controller: Controller, status: number): void {
    const headers = rawHeaders(controller);
    const codings = headerValues(headers, 'transfer-encoding');
    if (codings.length > 1 || (codings[0] ?? 'chunked').toLowerCase() !== 'chunked') {
      // Nobody offered to take any other, and what is in it would reach the caller undecoded.
      controller.abort(new Error('a transfer coding that is not chunked'));
      return;
    }
    const { token } = this.#trial;
    const hasNonce =
      token?.dpop !== undefined && this.#events.learnNonce(this.#trial, headerValues(headers, 'dpop-nonce').join());
    if (status === 401 && token !== undefined) {
      this.#discard(controller);
      // RFC 9449 section 9.
      const wantsNonce =
        hasNonce && headerValues(headers, 'www-authenticate').some((challenge) => /\buse_dpop_nonce\b/.test(challenge));
      this.#events.refused(this.#trial, wantsNonce);
      return;
    }
    const pending = status === 403 ? this.#stepUp(headers) : undefined;
    if (pending === undefined) this.#begin(controller, status);
    else this.#wait(controller, status, pending);
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#state === 'relaying') {
      this.#relay?.data(chunk);
      return;
    }
    this.#discardedBytes += chunk.length;
    if (this.#discardedBytes > MAX_DISCARDED_BYTES) {
      controller.abort(new Error('the answer of a refused request is too long'));
    }
  }

  onResponseEnd(): void {
    if (this.#state === 'waiting') this.#hasEnded = true;
    // There is nothing left to abort, and the error for it would cost each request more than its admission does.
    if (this.#passage.abort === this.#abort) this.#passage.abort = undefined;
    this.#relay?.end();
  }

  onResponseError(_controller: Controller, error: Error): void {
    if (this.#state === 'waiting') this.#failure = error;
    if (this.#state !== 'relaying') return;
    if (this.#relay === undefined) this.#events.answered(upstreamError(error, this.#route.name));
    else this.#relay.fail();
  }

  #begin(controller: Controller, status: number): void {
    const passage = this.#passage;
    let given = callerHeaders(rawHeaders(controller));
    if (status === NO_CONTENT) given = without(given, LENGTH);
    if (this.#trial.token?.dpop !== undefined) given = without(given, NONCE);
    const headers = turnHeaders(given, passage, this.#route);
    const header = (name: string): string | undefined => headerValues(headers, name)[0];
    const rewriter = streamRewriter(passage, this.#route, status, header);
    this.#relay = createRelay(controller, status, headers, () => passage.request.complete, rewriter);
    passage.leg?.bearer?.answered(status, header);
    this.#events.answered(null, this.#relay);
  }

  #discard(controller: Controller): void {
    this.#state = 'discarding';
    // The next attempt takes this one's place in `passage.abort`, and this one's answer may have no end.
    this.#passage.response.once('close', () => controller.abort(new Error('the request was answered')));
  }

  #stepUp(headers: RawHeaders): Promise<boolean> | undefined {
    const { isFirst, token } = this.#trial;
    if (!isFirst || token === undefined || this.#route.stepUp.length === 0) return undefined;
    const scopes = insufficientScope(headerValues(headers, 'www-authenticate'));
    return scopes && this.#events.insufficientScope(scopes);
  }

  #wait(controller: Controller, status: number, pending: Promise<boolean>): void {
    this.#state = 'waiting';
    controller.pause();
    const settled = pending.then((goesOn) => {
      if (goesOn) this.#discard(controller);
      else {
        this.#state = 'relaying';
        if (this.#failure === undefined) {
          this.#begin(controller, status);
          if (this.#hasEnded) this.#relay?.end();
        } else {
          this.#events.answered(upstreamError(this.#failure, this.#route.name));
        }
      }
      controller.resume();
    });
    settled.catch((error: Error) => this.#events.answered(upstreamError(error, this.#route.name)));
  }
}

function rawHeaders({ rawHeaders: raw }: Controller): RawHeaders {
  return (raw ?? []) as string[];
}
