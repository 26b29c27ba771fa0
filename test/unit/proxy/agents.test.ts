import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { AgentShares } from '../../../src/proxy/agent-shares.ts';
import { assertNoAgent } from '../../../src/proxy/sender.ts';
import { toSubject } from '../../../src/tokens/subject.ts';

const config = {
  agents: { known: [{ name: 'billing' }, { name: 'support' }] },
  limits: { maxInFlight: 5, maxConnections: 5 },
};

/** A request of `billing`, as far as its shares depend on it. */
function request(socket: object, arrival?: object) {
  const closing: (() => void)[] = [];
  const all = {
    active: { config },
    incoming: { socket },
    arrival,
    closeAfterResponse: () => undefined,
    onClosed: (listener: () => void) => void closing.push(listener),
  };
  const join = (shares: AgentShares) => shares.join(all as unknown as Parameters<AgentShares['join']>[0], 'billing');
  const close = () => {
    for (const listener of closing) listener();
  };
  return { join, close };
}

test('connections of a data plane count to no agent, and its requests do', () => {
  const shares = new AgentShares();
  const requests = Array.from({ length: 4 }, () => request(new EventEmitter(), { wayIn: 'decision' }));
  for (const each of requests) each.join(shares);
  assert.deepEqual(shares.of('billing'), { in_flight: 4, connections: 0 });
  assert.throws(() => request(new EventEmitter(), { wayIn: 'decision' }).join(shares), /80 % of limits\.max_in_flight/);
  for (const each of requests) each.close();
});

test('requests inside a CONNECT count one connection, that of the CONNECT', () => {
  const shares = new AgentShares();
  const socket = new EventEmitter();
  const within = { wayIn: 'proxy', connect: { socket } };
  const requests = [request({}, within), request({}, within)];
  for (const each of requests) each.join(shares);
  assert.deepEqual(shares.of('billing'), { in_flight: 2, connections: 1 });
  for (const each of requests) each.close();
  socket.emit('close');
  assert.deepEqual(shares.of('billing'), { in_flight: 0, connections: 0 });
});

test('an introspection that leaves out the issuer makes no caller of an agent', () => {
  const payload = Buffer.from(JSON.stringify({ iss: 'https://idp.example.com', aud: 'cambist' })).toString('base64url');
  const subject = { ...toSubject(`e30.${payload}.c2ln`), introspected: { sub: 'batch' } };
  const agents = { token: [{ issuer: 'https://idp.example.com', audience: ['cambist'] }] };
  const routed = { request: { active: { config: { agents } } }, route: { credential: { kind: 'exchange' } } };
  assert.throws(
    () => assertNoAgent(routed as never, { subject, withheldTokens: [], rawHeaders: [] }),
    /one of an agent/,
  );
});
