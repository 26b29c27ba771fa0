/**
 * Runs in a network and mount namespace of its own, as a pod does, with the rules of the init container. DNS leads to the backend,
 * outside of the pod. Checks what agents get, which have only the trust variables, and what reaches the outside.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { recordOutput } from '../../harness/cambist-process.ts';
import { startDnsServer } from '../../harness/dns-server.ts';
import { eventually } from '../../harness/eventually.ts';
import { keepParts } from '../../harness/lifetime.ts';
import { BUILT_PROGRAM, runProgram, succeeded } from '../../harness/run-command.ts';
import { findPython } from '../installs.ts';
import { curlOf, HOST, MCP_URL, PROXY_VARIABLES, program, runClient, startInterceptSetup } from './setup.ts';

const [, , folder = ''] = process.argv;
const REDIRECT = join(import.meta.dirname, '../../../deploy/redirect/redirect.sh');
const CAMBIST_UID = '65532';
/** The user of the sidecar. It may read the files of the user who runs the tests. */
const AS_CAMBIST = [
  ...['setpriv', `--reuid=${CAMBIST_UID}`, `--regid=${CAMBIST_UID}`, '--clear-groups'],
  ...['--inh-caps=+dac_override', '--ambient-caps=+dac_override'],
] as const;

const OUTSIDE_PROGRAM = join(import.meta.dirname, 'outside.mjs');

/** Where the backend is, outside of the pod. */
const OUTSIDE = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' };
const POD = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' };
const BRIDGE = { ipv4: '198.51.100.1', ipv6: '2001:db8:1::1' };
const NESTED = { ipv4: '198.51.100.2', ipv6: '2001:db8:1::2' };

/**
 * Connects the network namespace of this process, the pod, to a new one.
 * @param backend a Unix socket, to which the outside passes connections to port 443
 */
async function startPodNetwork(backend: string) {
  const outside = spawn('unshare', ['-n', process.execPath, OUTSIDE_PROGRAM, backend]);
  const { stdout, stderr } = recordOutput(outside);
  const count = (line: string): number =>
    stdout()
      .split('\n')
      .filter((each) => each === line).length;
  await eventually(`the outside listens: ${stderr()}`, () => count('ready') === 1);
  await addPair('pod', 'out', outside);
  await connectDevice([], 'pod', POD);
  const enterOutside = enter(outside);
  await connectDevice(enterOutside, 'out', OUTSIDE);
  const nested = spawn('unshare', ['-n', process.execPath, '-e', 'console.log("ready"); setInterval(() => {}, 1e6)']);
  const nestedOutput = recordOutput(nested);
  await eventually('the nested network exists', () => nestedOutput.stdout().includes('ready'));
  const enterNested = enter(nested);
  await addPair('bridge', 'nested', nested);
  await connectDevice([], 'bridge', BRIDGE);
  await connectDevice(enterNested, 'nested', NESTED);
  await run(...enterNested, 'ip', 'route', 'add', 'default', 'via', BRIDGE.ipv4);
  await run(...enterOutside, 'ip', 'route', 'add', `${NESTED.ipv4}/32`, 'via', POD.ipv4);
  await writeFile('/proc/sys/net/ipv4/ip_forward', '1');
  return {
    /** The number of connections or datagrams that reached port 443 outside. */
    arrived: (kind: 'tcp' | 'udp') => count(kind),
    /** Enters the network of a container that an agent in the pod started. The pod forwards its packets. */
    enterNested,
    close(): void {
      for (const process of [outside, nested]) process.kill();
    },
  };
}

function enter({ pid }: ChildProcess): string[] {
  return ['nsenter', '-t', String(pid), '-n'];
}

/** Connects this network to that of a process. */
function addPair(here: string, there: string, { pid }: ChildProcess): Promise<void> {
  return run(...`ip link add name ${here} type veth peer name ${there} netns ${pid}`.split(' '));
}

async function connectDevice(inside: readonly string[], device: string, { ipv4, ipv6 }: typeof POD): Promise<void> {
  const ip = (...args: readonly string[]) => run(...inside, 'ip', ...args);
  await ip('address', 'add', `${ipv4}/24`, 'dev', device);
  // Without duplicate address detection, the address can be used at once.
  await ip('address', 'add', `${ipv6}/64`, 'dev', device, 'nodad');
  await ip('link', 'set', device, 'up');
}

async function run(...[command = '', ...args]: readonly string[]): Promise<void> {
  succeeded(await runProgram(command, args));
}

const socket = join(folder, 'backend.sock');
const dns = await startDnsServer({ [HOST]: OUTSIDE.ipv4, 'unrouted.example.com': OUTSIDE.ipv4 });
const network = await startPodNetwork(socket);
const lifetime = keepParts();
const setup = await startInterceptSetup(lifetime, {
  intercept: { listen: ['127.0.0.1:15443', '[::1]:15443', '127.0.0.1:15080'] },
  upstream: { host: HOST, port: 443, socket },
  launch: async (file) => [...AS_CAMBIST, process.execPath, BUILT_PROGRAM, 'run', '--config', file],
});

const curl = (url: string, ...more: readonly string[]) => curlOf(setup, url, ...more);

/** Runs an agent, and counts the connections that reach the outside meanwhile. */
async function agent(command: readonly string[], as: readonly string[] = []) {
  const [tcp, arrivals] = [network.arrived('tcp'), await setup.arrivals('redirect').catch(() => 0)];
  const { code, stdout } = await runClient(setup, [...as, ...command], { without: PROXY_VARIABLES });
  const redirected = (await setup.arrivals('redirect').catch(() => 0)) - arrivals;
  return { code, stdout, redirected, outside: network.arrived('tcp') - tcp };
}

const redirect = (...args: readonly string[]) => runProgram(REDIRECT, args);

/** Sends a datagram to the port of HTTP/3. @returns the error that the agent gets */
async function sendDatagram(address: string): Promise<string> {
  const datagram = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const outcome = new Promise<string>((resolve) => {
    datagram.once('error', ({ message }) => resolve(message)).once('message', String);
    datagram.connect(443, address, () => datagram.send('x', (error) => resolve(error?.message ?? 'sent')));
  });
  return outcome.finally(() => datagram.close());
}

/** Of an agent whose call gets nowhere. */
const NOTHING = { code: 7, stdout: '000', redirected: 0, outside: 0 };
/** Of an agent whose call reaches the backend, whose certificate it does not trust. */
const PAST = { code: 60, stdout: '000', redirected: 0, outside: 1 };

try {
  const nestedCurl = curl(MCP_URL, '--resolve', `${HOST}:443:${OUTSIDE.ipv4}`);
  assert.deepEqual(await agent(curl(MCP_URL)), PAST, 'without rules it goes outside');
  assert.equal(await sendDatagram(OUTSIDE.ipv4), 'sent');
  assert.equal((await agent(nestedCurl, network.enterNested)).outside, 1);
  succeeded(await redirect('--uid', CAMBIST_UID, '--redirect', '443:1'));
  succeeded(await redirect('--uid', CAMBIST_UID, '--redirect', '443:15443', '--redirect', '80:15080'));
  const listed = succeeded(await runProgram('nft', ['-y', 'list', 'ruleset']));
  assert.equal(listed.match(/redirect to/g)?.length, 2, 'the second run replaced the rules of the first');
  const { length } = setup.backend.requests;
  for (const [what, command, calls] of [
    ['IPv4', curl(MCP_URL), 1],
    ['IPv6', curl(MCP_URL, '--resolve', `${HOST}:443:[${OUTSIDE.ipv6}]`), 1],
    ['without TLS', curl(MCP_URL.replace('https:', 'http:')), 1],
    ['Python', [findPython(), program('urllib_client.py')], 1],
    ['Node', [process.execPath, program('fetch.mjs')], 2],
  ] as const) {
    const { code, stdout, redirected } = await agent(command);
    assert.deepEqual([code, stdout, redirected], [0, Array(calls).fill('200').join(' '), calls], what);
  }
  assert.equal(setup.backend.requests.length - length, 6, 'the backend verified the token of each call');
  assert.equal((await agent(curl('https://unrouted.example.com/mcp'))).code, 35, 'the handshake is refused');
  assert.equal((await agent(curl(`https://${HOST}:8443/mcp`))).redirected, 0);
  assert.deepEqual(await agent(curl(MCP_URL), AS_CAMBIST), PAST, 'its user is exempt');
  assert.deepEqual(await agent(nestedCurl, network.enterNested), NOTHING, 'not forwarded either');
  for (const address of Object.values(OUTSIDE)) assert.match(await sendDatagram(address), /EPERM|ECONNREFUSED/);
  assert.ok(!setup.cambist.stdout().includes(setup.token));
  // Connection tracking ignores these packets, so that no redirection takes them.
  await runProgram('nft', ['add table inet other']);
  await runProgram('nft', ['add chain inet other c { type filter hook output priority -300; }']);
  await runProgram('nft', ['add rule inet other c tcp dport 443 notrack']);
  assert.deepEqual(await agent(curl(MCP_URL)), NOTHING, 'nor does it go outside');
  await runProgram('nft', ['delete table inet other']);
  await setup.cambist.close();
  assert.deepEqual(await agent(curl(MCP_URL)), NOTHING, 'no cambist, no call');
  assert.equal(network.arrived('udp'), 1, 'only that of before the rules');
} finally {
  await lifetime.close();
  network.close();
  dns.close();
}
