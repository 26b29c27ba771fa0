/** Longer than any name that Kubernetes accepts for a container, a port or a volume. */
const MAX_QUOTED_LENGTH = 80;

/**
 * Quotes a value from a manifest for a message. A long value is shortened: the author of the pod chooses its length, and many
 * messages can quote the same value.
 */
export function quote(value: string): string {
  return JSON.stringify(value.length > MAX_QUOTED_LENGTH ? `${value.slice(0, MAX_QUOTED_LENGTH)}…` : value);
}
