import type { Socket } from 'node:net';
import { withoutBrackets } from '../config/brackets.ts';
import { isEveryAddress, isLoopbackPeer } from '../config/loopback.ts';

/** The addresses of cambist's own listeners. A request to one of them would come back. */
export interface OwnAddresses {
  /** @param address `http://host:port`; a Unix socket is ignored */
  add(address: string): void;
  /** Returns the reason to refuse a new connection: it leads back to cambist. */
  refuse(socket: Socket): Error | undefined;
}

interface Address {
  readonly host: string;
  readonly port: number;
}

export function createOwnAddresses(): OwnAddresses {
  const own: Address[] = [];
  return {
    add(address) {
      if (!address.startsWith('http:')) return;
      const { hostname, port } = new URL(address);
      own.push({ host: withoutBrackets(hostname), port: Number(port || 80) });
    },
    refuse({ localAddress, remoteAddress = '', remotePort }) {
      const remote = plain(remoteAddress);
      const isOwn = own.some(({ host, port }) => {
        if (port !== remotePort) return false;
        if (isEveryAddress(host)) return isLoopbackPeer(remote) || remoteAddress === localAddress;
        return host === remote;
      });
      if (!isOwn) return undefined;
      const message = `${remoteAddress}:${remotePort} is cambist itself: its name must lead to the backend in DNS`;
      return Object.assign(new Error(message), { code: 'ERR_LOOP' });
    },
  };
}

/** An IPv4 address that a dual-stack socket maps to IPv6. */
function plain(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '');
}
