import assert from 'node:assert/strict';
import type { LookupAddress, LookupOptions } from 'node:dns';
import { createServer, type LookupFunction } from 'node:net';
import { test } from 'node:test';
import { createConnector } from '../../../src/transport/connector.ts';
import { createDnsLookup, parseResolverConfig, searchedNames } from '../../../src/transport/dns-lookup.ts';
import { createSystemLookup } from '../../../src/transport/system-lookup.ts';
import { soon } from '../../harness/eventually.ts';
import { serve } from '../../harness/http-server.ts';

const failure = (code: string): Error => Object.assign(new Error(code), { code });

const KUBERNETES = { search: ['agents.svc.cluster.local', 'svc.cluster.local', 'cluster.local'], ndots: 5 };
const PLAIN = { search: [], ndots: 1 };

/** Looks a name up where these are known. An error is the code of a failure. */
function lookUp(
  names: Readonly<Record<string, readonly string[] | string>>,
  hostname: string,
  { config = PLAIN, ...options }: LookupOptions & { readonly config?: typeof KUBERNETES | typeof PLAIN } = {},
) {
  const asked: string[] = [];
  const resolve = (family: 4 | 6) => async (name: string) => {
    if (family === 4) asked.push(name);
    const found = names[name] ?? 'ENOTFOUND';
    if (typeof found === 'string') throw failure(found);
    const addresses = found.filter((address) => address.includes(':') === (family === 6));
    if (addresses.length === 0) throw failure('ENODATA');
    return addresses;
  };
  const lookup = createDnsLookup(config, { resolve4: resolve(4), resolve6: resolve(6) });
  const result = new Promise<{ found: string | LookupAddress[]; family: number | undefined }>((resolve, reject) => {
    lookup(hostname, options, (error, found, family) => (error ? reject(error) : resolve({ found, family })));
  });
  return { asked, result };
}

test('finds a name below the first search domain that has it', async () => {
  const names = { 'mcp.tools.svc.cluster.local': ['10.0.0.7'] };
  const { asked, result } = lookUp(names, 'mcp.tools', { config: KUBERNETES });
  assert.deepEqual(await result, { found: '10.0.0.7', family: 4 });
  assert.deepEqual(asked, ['mcp.tools.agents.svc.cluster.local', 'mcp.tools.svc.cluster.local']);
});

test('returns all addresses, IPv4 first, or those of one family', async () => {
  const names = { 'a.example.com': ['2001:db8::1', '192.0.2.1'] };
  const all = await lookUp(names, 'a.example.com', { all: true }).result;
  assert.deepEqual(all.found, [
    { address: '192.0.2.1', family: 4 },
    { address: '2001:db8::1', family: 6 },
  ]);
  assert.deepEqual(await lookUp(names, 'a.example.com', { family: 6 }).result, { found: '2001:db8::1', family: 6 });
  const onlyFour = lookUp({ 'a.example.com': ['192.0.2.1'] }, 'a.example.com', { family: 6 }).result;
  await assert.rejects(onlyFour, { code: 'ENOTFOUND' });
});

test('does not try another name after a failure other than a missing name', async () => {
  const names = { 'mcp.agents.svc.cluster.local': 'ESERVFAIL', mcp: ['192.0.2.66'] };
  const { result } = lookUp(names, 'mcp', { config: KUBERNETES });
  await assert.rejects(result, (error: NodeJS.ErrnoException) => {
    assert.equal(error.code, 'EAI_AGAIN');
    assert.equal((error.cause as NodeJS.ErrnoException).code, 'ESERVFAIL');
    return true;
  });
});

test('asks no server for localhost', async () => {
  for (const name of ['localhost', 'x.localhost']) {
    const { asked, result } = lookUp({}, name);
    assert.equal((await result).found, '127.0.0.1');
    assert.deepEqual(asked, []);
  }
});

test('reports an unknown name', async () => {
  await assert.rejects(lookUp({}, 'x.example.com').result, { code: 'ENOTFOUND', message: /x\.example\.com/ });
});

for (const [hostname, config, names] of [
  ['mcp', KUBERNETES, ['mcp.agents.svc.cluster.local', 'mcp.svc.cluster.local', 'mcp.cluster.local', 'mcp']],
  ['a.b.c.d.e.f', KUBERNETES, ['a.b.c.d.e.f', ...KUBERNETES.search.map((domain) => `a.b.c.d.e.f.${domain}`)]],
  ['mcp.example.com.', KUBERNETES, ['mcp.example.com']],
  ['a.example.com', PLAIN, ['a.example.com']],
] as const) {
  test(`tries the names for ${hostname} with ndots ${config.ndots} in the order of resolv.conf(5)`, () => {
    assert.deepEqual(searchedNames(hostname, config), names);
  });
}

test('reads search domains and ndots', () => {
  for (const [text, search, ndots] of [
    ['nameserver 10.96.0.10\nsearch a.svc b.local.\noptions ndots:5 timeout:1\n', ['a.svc', 'b.local'], 5],
    ['domain example.com\n', ['example.com'], 1],
    ['domain example.com\nsearch a b\n', ['a', 'b'], 1],
    ['search .\noptions ndots:99\n', [], 15],
    ['# search x\n; search y\n', [], 1],
    ['', [], 1],
  ] as const) {
    assert.deepEqual(parseResolverConfig(text), { search: [...search], ndots }, text);
  }
});

/** The error of a connection that is not established in time. */
function failureWith(lookup: LookupFunction, url: string): Promise<NodeJS.ErrnoException> {
  const failure = new Promise<NodeJS.ErrnoException>((resolve, reject) => {
    createConnector({ lookup, timeout: 50 }).connect(new URL(url), (...[error]) =>
      error === null ? reject(new Error('connected')) : resolve(error),
    );
  });
  return soon('the timeout', failure);
}

test('reports a name that DNS did not resolve in time', async () => {
  const error = await failureWith(() => {}, 'http://a.example.com:9');
  assert.equal(error.code, 'EAI_AGAIN');
  assert.equal(error.message, 'DNS did not respond in time for a.example.com');
  assert.equal((error.cause as NodeJS.ErrnoException).code, 'UND_ERR_CONNECT_TIMEOUT');
});

test('reports a peer that was found and did not respond in time', async (t) => {
  // It accepts the connection, and never responds to the TLS handshake.
  const { port } = await serve(t, createServer());
  const found: LookupFunction = (_name, _options, callback) =>
    setImmediate(() => callback(null, [{ address: '127.0.0.1', family: 4 }]));
  const error = await failureWith(found, `https://a.example.com:${port}`);
  assert.equal(error.code, 'UND_ERR_CONNECT_TIMEOUT');
});

/** A system that responds when it is told to. */
function heldSystem() {
  const questions: { hostname: string; respond: Parameters<LookupFunction>[2] }[] = [];
  const lookup = createSystemLookup((hostname, _options, respond) => void questions.push({ hostname, respond }));
  const found: string[] = [];
  const ask = (hostname: string, options: LookupOptions = { all: true }) =>
    lookup(hostname, options, (error, address) => void found.push(error?.message ?? JSON.stringify(address)));
  return { questions, found, ask };
}

test('asks once for a name that several connections wait for', () => {
  const { questions, found, ask } = heldSystem();
  for (let connection = 0; connection < 20; connection++) ask('slow.example.com');
  ask('other.example.com');
  assert.deepEqual(
    questions.map(({ hostname }) => hostname),
    ['slow.example.com', 'other.example.com'],
  );
  questions[0]?.respond(null, [{ address: '192.0.2.1', family: 4 }]);
  assert.deepEqual(found, Array(20).fill('[{"address":"192.0.2.1","family":4}]'));
});

test('asks again after a result, so that it finds a new address', () => {
  const { questions, found, ask } = heldSystem();
  ask('a.example.com');
  questions[0]?.respond(new Error('EAI_AGAIN'), '');
  ask('a.example.com');
  questions[1]?.respond(null, '192.0.2.1');
  ask('a.example.com');
  questions[2]?.respond(null, '192.0.2.2');
  assert.deepEqual(found, ['EAI_AGAIN', '"192.0.2.1"', '"192.0.2.2"']);
});

test('does not share the result of another question about the same name', () => {
  const { questions, ask } = heldSystem();
  ask('a.example.com', { all: true });
  ask('a.example.com', { family: 4 });
  ask('a.example.com', { family: 6 });
  assert.equal(questions.length, 3);
});

test('can ask again after a question that could not be asked', async () => {
  let isBroken = true;
  const lookup = createSystemLookup((_hostname, _options, respond) => {
    if (isBroken) throw new TypeError('invalid options');
    setImmediate(() => respond(null, '192.0.2.1', 4));
  });
  assert.throws(() => lookup('a.example.com', {}, () => {}), TypeError);
  isBroken = false;
  const found = await new Promise((resolve) => lookup('a.example.com', {}, (...result) => resolve(result)));
  assert.deepEqual(found, [null, '192.0.2.1', 4]);
});
