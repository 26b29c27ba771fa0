import type { IncomingMessage } from 'node:http';
import { formatDuration } from '../config/units.ts';
import { CambistError } from '../errors.ts';
import type { Watched } from './stall-watch.ts';

/** A caller that sends less of a body within `timeouts.stall` occupies cambist on purpose. */
const LEAST_BYTES = 16 * 1024;

interface Waiting {
  readonly incoming: IncomingMessage;
  stallMs(): number;
}

/** A request that waits for its body before it is forwarded. */
export class BodyWait<R extends Waiting = Waiting> implements Watched {
  readonly request: R;
  /** Ends the wait. */
  readonly refuse: (error: CambistError) => void;
  readonly leastBytes = LEAST_BYTES;

  constructor(request: R, refuse: (error: CambistError) => void) {
    this.request = request;
    this.refuse = refuse;
  }

  get socket() {
    return this.request.incoming.socket;
  }

  isPaused(): boolean {
    return true;
  }

  isOver(): boolean {
    return false;
  }

  stallMs(): number {
    return this.request.stallMs();
  }

  onStall(): void {
    this.refuse(incompleteBody(this.stallMs()));
  }
}

/** @param stallMs in which too little arrived */
function incompleteBody(stallMs: number): CambistError {
  const message = `too little of the request's body arrived within timeouts.stall, which is ${formatDuration(stallMs)}`;
  return new CambistError('ERR_REQUEST_TIMEOUT', `${message}: the caller must send it faster`);
}
