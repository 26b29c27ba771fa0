import { type ClientHttp2Session, connect } from 'node:http2';
import type { Socket } from 'node:net';
import type { Open } from '../opener.ts';

/** How much of one answer may be under way unread, and of all that share a connection. */
const STREAM_WINDOW_BYTES = 256 * 1024;
const CONNECTION_WINDOW_BYTES = 1024 * 1024;

/**
 * Connects, and waits for the upstream to say how many streams there may be.
 * @param open offers HTTP/2 by ALPN
 * @param timeoutMs for what comes after the handshake, which `open` times; 0 is none
 * @param signal ends what comes after the handshake
 * @returns undefined where the upstream does not speak HTTP/2
 */
export async function openSession(
  origin: URL,
  open: Open,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ClientHttp2Session | undefined> {
  const socket = await openSocket(origin, open);
  if (!('alpnProtocol' in socket) || socket.alpnProtocol !== 'h2') {
    socket.destroy();
    return undefined;
  }
  const session = connect(origin, {
    createConnection: () => socket,
    settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
  });
  return new Promise((resolve, reject) => {
    let failure = new Error('HTTP/2: the connection ended before the upstream said anything');
    const giveUp = (): void => session.destroy();
    const timer = timeoutMs > 0 ? setTimeout(giveUp, timeoutMs) : undefined;
    signal.addEventListener('abort', giveUp);
    const settled = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', giveUp);
    };
    session.on('error', (error: Error) => {
      failure = error;
    });
    session.once('close', () => {
      settled();
      reject(failure);
    });
    session.once('remoteSettings', () => {
      settled();
      session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
      resolve(session);
    });
    if (signal.aborted) giveUp();
  });
}

function openSocket(origin: URL, open: Open): Promise<Socket> {
  return new Promise((resolve, reject) => {
    open(origin, (error, socket) => {
      if (error === null) resolve(socket);
      else reject(error);
    });
  });
}
