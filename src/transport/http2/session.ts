import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import type { Connect } from '../connector.ts';

/** Flow control: how much of one response may be unread, and of all responses on a connection together. */
const STREAM_WINDOW_BYTES = 256 * 1024;
const CONNECTION_WINDOW_BYTES = 1024 * 1024;

/**
 * Connects, and waits for the upstream's settings, which limit the number of streams.
 * @param connect offers HTTP/2 by ALPN, and has its own timeout
 * @param timeoutMs for the settings, after the TLS handshake; 0 turns it off
 * @param signal ends the wait for the settings
 * @returns undefined where the upstream does not speak HTTP/2
 */
export async function openSession(
  origin: URL,
  connect: Connect,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ClientHttp2Session | undefined> {
  const socket = await connectSocket(origin, connect);
  if (!('alpnProtocol' in socket) || socket.alpnProtocol !== 'h2') {
    socket.destroy();
    return undefined;
  }
  const session = connectHttp2(origin, {
    createConnection: () => socket,
    settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
  });
  return new Promise((resolve, reject) => {
    let failure = new Error('HTTP/2: the connection closed before the upstream sent its settings');
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

function connectSocket(origin: URL, connect: Connect): Promise<Socket> {
  return new Promise((resolve, reject) => {
    connect(origin, (error, socket) => {
      if (error === null) resolve(socket);
      else reject(error);
    });
  });
}
