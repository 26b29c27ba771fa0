import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { idleConnections, secured } from '../../../src/listeners/idle-connection.ts';

const AFTER_RESPONSE = { bytesRead: 9, writableLength: 0, _httpMessage: null };

function socketOf(state: object): Socket {
  return state as Socket;
}

/** A server whose list of connections between two requests is in the place where Node keeps it. */
function serverOf(...listed: readonly Socket[]): Server {
  return {
    [Symbol('http.server.connections')]: { idle: () => listed.map((socket) => ({ socket })) },
  } as unknown as Server;
}

test('a connection is idle before its first byte, and after a response', () => {
  const silent = socketOf({ bytesRead: 0 });
  const waiting = socketOf(AFTER_RESPONSE);
  const isIdle = idleConnections(serverOf(waiting));
  assert.deepEqual([isIdle(silent), isIdle(waiting)], [true, true]);
  for (const state of [{ _httpMessage: {} }, { _httpMessage: undefined }, { writableLength: 1 }]) {
    const busy = socketOf({ ...AFTER_RESPONSE, ...state });
    assert.equal(idleConnections(serverOf(busy))(busy), false, Object.keys(state)[0]);
  }
});

test('a connection with TLS is idle where its requests are', () => {
  const [connection, secure] = [socketOf({ ...AFTER_RESPONSE, _httpMessage: undefined }), socketOf(AFTER_RESPONSE)];
  secured.set(connection, secure);
  assert.equal(idleConnections(serverOf(secure))(connection), true);
  assert.equal(idleConnections(serverOf())(connection), false);
});

test('no used connection is idle in a version of Node without its list', () => {
  const used = socketOf(AFTER_RESPONSE);
  for (const server of [{}, { [Symbol('http.server.connections')]: {} }]) {
    const isIdle = idleConnections(server as unknown as Server);
    assert.deepEqual([isIdle(used), isIdle(socketOf({ bytesRead: 0 }))], [false, true]);
  }
});
