import { formatDuration } from '../config/units.ts';
import { CambistError } from '../errors.ts';
import { failRequest } from './fail-request.ts';
import type { ProxyRequest } from './proxy-request.ts';
import { discardRest, isReadingPaused } from './request-body.ts';
import type { StallWatch } from './stall-watch.ts';

/** A caller that sends less of a body within `timeouts.stall` occupies cambist on purpose. */
const LEAST_BYTES = 16 * 1024;

/** A request that waits for its body before it is forwarded. */
export type BodyWait = ReturnType<typeof createBodyWait>;

/** @param reject ends the wait */
export function createBodyWait(request: ProxyRequest, reject: (error: CambistError) => void) {
  return {
    request,
    reject,
    socket: request.incoming.socket,
    leastBytes: LEAST_BYTES,
    isPaused: () => true,
    isOver: () => false,
    stallMs: () => request.stallMs(),
    onStall: () => reject(incompleteBody(request.stallMs())),
  };
}

/** @param stallMs in which too little arrived */
function incompleteBody(stallMs: number): CambistError {
  const message = `too little of the request's body arrived within timeouts.stall, which is ${formatDuration(stallMs)}`;
  return new CambistError('ERR_REQUEST_TIMEOUT', `${message}: the caller must send it faster`);
}

/** Ends a request when its streamed body stands still. Meanwhile, it gives way to a new one at the limits. */
export function watchUpload(request: ProxyRequest, watch: StallWatch): void {
  const { incoming, response } = request;
  request.uploadBegun();
  watch.add({
    socket: incoming.socket,
    isPaused: () => isReadingPaused(incoming),
    isOver: () => request.isClosed || incoming.complete || response.writableEnded,
    stallMs: () => request.stallMs(),
    onStall: () => endUpload(request, stalledUpload(request.record.route?.name, request.stallMs())),
  });
}

export function endUpload(request: ProxyRequest, error: CambistError): void {
  const { incoming, response, record } = request;
  if (response.headersSent) {
    record.abortedBy = 'stall';
    response.destroy();
  } else {
    failRequest(request, error);
  }
  request.abortUpstream?.();
  discardRest(incoming);
}

/** @param stallMs for which no byte moved */
export function stalledUpload(routeName: string | undefined, stallMs: number): CambistError {
  const message = `no byte moved for timeouts.stall, which is ${formatDuration(stallMs)}, while the upload waited for the backend`;
  const fix = 'find out why it stopped reading, or raise timeouts.stall';
  return new CambistError('ERR_UPSTREAM_TIMEOUT', `route "${routeName}": ${message}: ${fix}`);
}
