import type { Socket } from 'node:net';

/** The tunnels that are open or about to open. A reload may add a route for the host of one. */
export class Tunnels {
  readonly #hosts = new Map<Socket, string>();

  /** @param client closing it closes the tunnel */
  add(host: string, client: Socket): void {
    this.#hosts.set(client, host);
    client.once('close', () => this.#hosts.delete(client));
  }

  /** Closes the tunnels to hosts that a route names: such a host never has one. @returns their number */
  closeRouted(table: { namesHost(host: string): boolean }): number {
    const routed = [...this.#hosts].filter(([, host]) => table.namesHost(host));
    for (const [client] of routed) client.destroy();
    return routed.length;
  }
}
