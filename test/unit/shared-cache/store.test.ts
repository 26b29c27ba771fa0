import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import {
  ClientClosedError,
  ConnectionTimeoutError,
  RootNodesUnavailableError,
  SocketClosedUnexpectedlyError,
} from '@redis/client';
import { systemClock } from '../../../src/clock/clock.ts';
import { CambistError } from '../../../src/errors.ts';
import { probeStore } from '../../../src/shared-cache/probe-store.ts';
import { openSharedCache } from '../../../src/shared-cache/shared-cache.ts';
import { connectStore } from '../../../src/shared-cache/store-connection.ts';
import { labelOf, problemOf, StoreTimeoutError } from '../../../src/shared-cache/store-problems.ts';
import { eventually } from '../../harness/eventually.ts';
import { serve } from '../../harness/http-server.ts';
import { createMemoryStore, type MemoryStore } from '../../harness/memory-store.ts';
import { loggerWithLines } from '../observability/log-lines.ts';
import { keysWhile, SHARED, startAlone, startReplica } from './replica.ts';

const codeError = (code: string) => Object.assign(new Error('failed'), { code });

test('tells the problem behind each error of the client', () => {
  const errors: readonly [unknown, string][] = [
    [new StoreTimeoutError(100), 'slow'],
    [new CambistError('ERR_CREDENTIAL_UNAVAILABLE', 'missing'), 'credential'],
    [new Error('WRONGPASS invalid username-password pair or user is disabled.'), 'wrong_password'],
    [new Error('NOAUTH Authentication required.'), 'wrong_password'],
    [new Error("NOPERM User cambist has no permissions to run the 'evalsha' command"), 'no_permission'],
    [new Error("READONLY You can't write against a read only replica."), 'read_only'],
    [new Error("OOM command not allowed when used memory > 'maxmemory'."), 'full'],
    [new Error('MISCONF Redis is configured to save RDB snapshots'), 'full'],
    [new Error('LOADING Redis is loading the dataset in memory'), 'not_ready'],
    [new Error('CLUSTERDOWN The cluster is down'), 'not_ready'],
    [codeError('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'tls'],
    [codeError('ERR_TLS_CERT_ALTNAME_INVALID'), 'tls'],
    [codeError('ECONNREFUSED'), 'unreachable'],
    [codeError('ENOTFOUND'), 'unreachable'],
    [new Error('Socket closed unexpectedly'), 'unreachable'],
    [new Error('All the root nodes are unavailable'), 'unreachable'],
    [new Error('None of the sentinels are available'), 'unreachable'],
    [new Error('outer', { cause: codeError('CERT_HAS_EXPIRED') }), 'tls'],
    [Object.assign(new Error(''), { errors: [codeError('ECONNREFUSED')] }), 'unreachable'],
    [new Error('ERR unknown'), 'other'],
    [undefined, 'other'],
  ];
  for (const [error, problem] of errors) assert.equal(problemOf(error), problem, String(error));
});

test('the log shows the code of an error, and never its text', () => {
  const errors: readonly [unknown, string][] = [
    [new Error('ERR unknown command `AUTH`, with args beginning with: `user`, `pa55word`'), 'ERR'],
    [new Error('WRONGPASS invalid'), 'WRONGPASS'],
    [codeError('ECONNREFUSED'), 'ECONNREFUSED'],
    [Object.assign(new Error(''), { errors: [codeError('EPIPE')] }), 'EPIPE'],
    [new Error('AUTH failed for pa55word', { cause: codeError('ENOTFOUND') }), 'ENOTFOUND'],
    [new StoreTimeoutError(100), 'no reply within 100ms'],
    [new SocketClosedUnexpectedlyError(), 'Socket closed unexpectedly'],
    [new ClientClosedError(), 'The client is closed'],
    [new ConnectionTimeoutError(), 'Connection timeout'],
    [new RootNodesUnavailableError(), 'All the root nodes are unavailable'],
    [new CambistError('ERR_CREDENTIAL_UNAVAILABLE', 'the key is short'), 'the key is short'],
    [undefined, 'Error'],
  ];
  for (const [error, label] of errors) assert.equal(labelOf(error), label);
});

test('starts without its server, and uses it once it is there', async (t) => {
  const server = createMemoryStore();
  server.fault = codeError('ECONNREFUSED');
  const { store, states, counted } = await startReplica(t, server);
  assert.deepEqual([store.state.isAvailable, store.state.problem], [false, 'unreachable']);
  assert.equal(await store.use('lookup', (connection) => connection.get('a')), undefined);
  assert.equal(counted('lookup', 'skipped'), 1);
  server.fault = undefined;
  await eventually('it is available', () => store.state.isAvailable);
  const [first, second, ...more] = states;
  assert.deepEqual([first?.problem, second?.problem, more], ['unreachable', undefined, []]);
});

test('is down after three faults in a row, and not after two', async (t) => {
  const { server, store, counted } = await startAlone(t);
  const ask = () => store.use('lookup', (connection) => connection.get('a'));
  for (let round = 0; round < 3; round += 1) {
    server.fault = new Error('OOM command not allowed');
    await ask();
    await ask();
    server.fault = undefined;
    assert.notEqual(await ask(), undefined);
  }
  assert.equal(store.state.isAvailable, true);
  server.fault = new Error('OOM command not allowed');
  for (let call = 0; call < 3; call += 1) await ask();
  assert.deepEqual([store.state.isAvailable, store.state.problem], [false, 'full']);
  const { operations } = server;
  await ask();
  assert.equal(counted('lookup', 'skipped'), 1);
  server.fault = undefined;
  await eventually('it is available', () => store.state.isAvailable);
  assert.ok(server.operations > operations);
});

test('connects again after the connection was lost, and tells that messages arrive again', async (t) => {
  const { server, store, messages } = await startAlone(t);
  let times = 0;
  messages.onSubscribed(() => {
    times += 1;
  });
  server.drop(codeError('ECONNRESET'));
  assert.deepEqual([store.state.isAvailable, store.state.problem], [false, 'unreachable']);
  await eventually('it is available', () => store.state.isAvailable);
  assert.equal(times, 1);
  assert.equal(server.connections, 2);
});

test('tells that messages arrive again once one arrives after the library replaced a connection', async (t) => {
  const server = createMemoryStore();
  const { connect } = server;
  let interrupt: (() => void) | undefined;
  let own = '';
  server.connect = async (shared, onLost, onInterrupted) => {
    interrupt = onInterrupted;
    const connection = await connect(shared, onLost);
    const subscribe: typeof connection.subscribe = (channel, listener) => {
      if (channel.includes(':self:')) own = channel;
      return connection.subscribe(channel, listener);
    };
    return { ...connection, subscribe };
  };
  const { messages } = await startReplica(t, server);
  let times = 0;
  messages.onSubscribed(() => {
    times += 1;
  });
  for (const expected of [0, 1, 1]) {
    server.deliver(own, '1');
    assert.equal(times, expected);
    if (expected === 0) interrupt?.();
  }
});

test('a key that cannot be read keeps the server out of use', async (t) => {
  let isReadable = false;
  const { server, store } = await startAlone(t, { readKeys: keysWhile(() => isReadable) });
  assert.equal(store.state.problem, 'credential');
  assert.equal(server.connections, 0);
  isReadable = true;
  await eventually('it is available', () => store.state.isAvailable);
});

const VARIABLE = 'SHARED_CACHE_TEST_KEY';

async function open(t: TestContext, server: MemoryStore) {
  const { logger, lines } = loggerWithLines();
  const side = await openSharedCache(
    { ...SHARED, keys: [{ env: VARIABLE }] },
    { clock: systemClock, logger, maxAgeMs: () => 300_000, connect: server.connect },
  );
  t.after(side.close);
  return { ...side, lines };
}

test('without a usable key it starts, and says why', async (t) => {
  process.env[VARIABLE] = 'short';
  t.after(() => {
    delete process.env[VARIABLE];
  });
  const server = createMemoryStore();
  const side = await open(t, server);
  assert.equal(side.status().problem, 'credential');
  assert.match(side.status().fix ?? '', /keys of 32 characters or more/);
  assert.equal(side.handles.digestOf('token'), undefined);
  process.env[VARIABLE] = 'a key that is long enough by any measure';
  await eventually('it is available', () => side.status().available);
  const messages = side.lines.map(({ msg }) => msg);
  assert.deepEqual(messages, ['shared cache is unavailable; exchanging without it', 'shared cache is available']);
  assert.ok(side.handles.digestOf('token'));
});

test('tries a write, a script, a message and a record, and leaves nothing', async () => {
  const server = createMemoryStore();
  const result = await probeStore(SHARED, true, server.connect);
  assert.ok('durationMs' in result);
  assert.deepEqual([server.values.size, server.sets.size, server.records.size, server.messages.length], [0, 0, 0, 1]);
});

test('tells the problem of a server, and its fix', async () => {
  const server = createMemoryStore();
  server.fault = new Error("READONLY You can't write against a read only replica.");
  const fix = 'connect to the primary, not to a replica';
  const found = await probeStore(SHARED, true, server.connect);
  assert.deepEqual(found, { problem: 'read_only', cause: 'READONLY', fix });
});

const bulk = (text: string): string => `$${text.length}\r\n${text}\r\n`;
const array = (items: readonly string[]): string => `*${items.length}\r\n${items.join('')}`;
const confirmed = (word: string, names: readonly string[]): string =>
  names.map((name, index) => array([bulk(word), bulk(name), `:${index + 1}\r\n`])).join('');

/** A server that knows as many commands as the test sends. */
async function startServer(t: TestContext, reply: (command: string, args: readonly string[]) => string) {
  const server = createServer((socket) => {
    socket.setEncoding('utf8').on('data', (text: string) => {
      for (const sent of text.split(/(?=\*\d+\r\n)/)) {
        const [command = '', ...args] = [...sent.matchAll(/\$\d+\r\n(.*)\r\n/g)].map(([, word]) => String(word));
        socket.write(reply(command.toUpperCase(), args));
      }
    });
  });
  return serve(t, server);
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
