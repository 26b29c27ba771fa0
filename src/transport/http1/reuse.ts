import { isHeader } from './is-header.ts';

/** How long a connection is kept that carries nothing, where the upstream does not say. */
const DEFAULT_MS = 4_000;

/** The upstream may count from before we do, and what it says takes time to come. */
const MARGIN_MS = 2_000;

const MAX_MS = 600_000;

const NO_CONTENT = 204;
const NOT_MODIFIED = 304;

/**
 * How long a connection may wait for the next request after an answer with this head; 0 is not at all.
 * @see RFC 9112 section 9.3
 */
export function reusableMs(status: number, headers: readonly string[]): number {
  let idleMs = DEFAULT_MS;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    if (isHeader(name, 'keep-alive')) idleMs = hintedMs(value) ?? idleMs;
    else if (hasNoBody(status) && announcesBody(name, value)) return 0;
  }
  return idleMs;
}

function hasNoBody(status: number): boolean {
  return status === NO_CONTENT || status === NOT_MODIFIED;
}

/** An upstream that thinks so may yet send it, as what would be the next answer. */
function announcesBody(name: string, value: string): boolean {
  return isHeader(name, 'transfer-encoding') || (isHeader(name, 'content-length') && value !== '0');
}

/** What the upstream says in `Keep-Alive`, less what may pass on the way. */
function hintedMs(value: string): number | undefined {
  const seconds = /\btimeout=(\d+)/i.exec(value)?.[1];
  return seconds === undefined ? undefined : Math.max(0, Math.min(Number(seconds) * 1000, MAX_MS) - MARGIN_MS);
}
