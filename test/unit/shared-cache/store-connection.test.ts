import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connectStore } from '../../../src/shared-cache/store-connection.ts';
import { eventually } from '../../harness/eventually.ts';
import { closeServer, listen } from '../../harness/http-server.ts';
import { SHARED } from './replica.ts';

const bulk = (text: string): string => `$${text.length}\r\n${text}\r\n`;
const array = (items: readonly string[]): string => `*${items.length}\r\n${items.join('')}`;
const confirmed = (word: string, names: readonly string[]): string =>
  names.map((name, index) => array([bulk(word), bulk(name), `:${index + 1}\r\n`])).join('');

/** A server that knows as many commands as the test sends. */
async function startServer(t: TestContext, reply: (command: string, args: readonly string[]) => string) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).setEncoding('utf8');
    socket.on('data', (text: string) => {
      for (const sent of text.split(/(?=\*\d+\r\n)/)) {
        const [command = '', ...args] = [...sent.matchAll(/\$\d+\r\n(.*)\r\n/g)].map(([, word]) => String(word));
        socket.write(reply(command.toUpperCase(), args));
      }
    });
  });
  const { port } = await listen(server);
  const close = (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    return closeServer(server);
  };
  t.after(close);
  return { port, close };
}

test('a connection that is destroyed while sentinels name a dead primary leaves no client that reconnects', async (t) => {
  const primary = await startServer(t, (command, names) =>
    command === 'SUBSCRIBE' ? confirmed('subscribe', names) : '+OK\r\n',
  );
  const fields = { name: 'primary', ip: '127.0.0.1', port: String(primary.port), flags: 'master', 'config-epoch': '1' };
  const sentinel = await startServer(t, (command, args) => {
    if (command === 'PSUBSCRIBE') return confirmed('psubscribe', args);
    return array(args[0]?.toUpperCase() === 'MASTER' ? Object.entries(fields).flat().map(bulk) : []);
  });
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timers();
  const nodes = [{ host: '127.0.0.1', port: sentinel.port }];
  const server = { kind: 'sentinel', name: 'primary', nodes, username: undefined, password: undefined } as const;
  const connection = await connectStore({ ...SHARED, server }, () => {});
  await connection.subscribe('channel', () => {});
  await primary.close();
  await assert.rejects(connection.set('key', 'value', 1000), /ECONNREFUSED/);
  connection.destroy();
  await eventually('nothing reconnects', () => timers() <= before);
});
