import type { OpenPath } from '../config/inbound.ts';
import type { RequestTarget } from '../routing/request-target.ts';

/**
 * Tells whether a request needs no token. Only the plain spelling of a path is open, because servers may read another spelling as
 * another path.
 */
export function isOpen({ path, plainPath }: RequestTarget, open: readonly OpenPath[]): boolean {
  if (path === undefined || plainPath !== undefined || path.includes('%')) return false;
  return open.some((one) => (one.isPrefix ? path.startsWith(one.path) : path === one.path));
}
