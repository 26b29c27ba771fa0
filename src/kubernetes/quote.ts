/** Longer than any name that Kubernetes accepts for a container, a port or a volume. */
const MAX_QUOTED_LENGTH = 80;

/**
 * A value from a manifest, in quotes, for a message. The value is cut, because whoever writes the pod chooses its length, and
 * many messages can quote the same value.
 */
export function quote(value: string): string {
  return JSON.stringify(value.length > MAX_QUOTED_LENGTH ? `${value.slice(0, MAX_QUOTED_LENGTH)}…` : value);
}
