import { isHeader } from './is-header.ts';

/** How long an idle connection is kept if the upstream does not say. */
const DEFAULT_MS = 4_000;

/** The upstream may start to count earlier, and its response takes time to arrive. */
const MARGIN_MS = 2_000;

const MAX_MS = 600_000;

const NO_CONTENT = 204;
const NOT_MODIFIED = 304;

/**
 * How long a connection may stay idle after a response with these headers. 0: the connection is not reused.
 * @see RFC 9112 section 9.3
 */
export function keepAliveMs(status: number, headers: readonly string[]): number {
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

/** An upstream that announces a body may still send it, and it would be read as the next response. */
function announcesBody(name: string, value: string): boolean {
  return isHeader(name, 'transfer-encoding') || (isHeader(name, 'content-length') && value !== '0');
}

/** The timeout in a `Keep-Alive` header, less the margin. */
function hintedMs(value: string): number | undefined {
  const seconds = /\btimeout=(\d+)/i.exec(value)?.[1];
  return seconds === undefined ? undefined : Math.max(0, Math.min(Number(seconds) * 1000, MAX_MS) - MARGIN_MS);
}
