/** How long a connection is kept that carries nothing, where the upstream does not say. */
const DEFAULT_MS = 4_000;

/** The upstream may count from before we do, and what it says takes time to come. */
const MARGIN_MS = 2_000;

const MAX_MS = 600_000;

/** How long a connection may be used once it carries nothing, by the headers of its last answer. Below zero: not at all. */
export function keepAliveMs(headers: readonly string[]): number {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (name.length !== 10 || name.toLowerCase() !== 'keep-alive') continue;
    const seconds = /\btimeout=(\d+)/i.exec(headers[i + 1] as string)?.[1];
    if (seconds !== undefined) return Math.min(Number(seconds) * 1000, MAX_MS) - MARGIN_MS;
  }
  return DEFAULT_MS;
}
