/** A Unix socket has no address, and only this machine can reach it. */
export function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return true;
  return address === '::1' || address.replace(/^::ffff:/, '').startsWith('127.');
}
