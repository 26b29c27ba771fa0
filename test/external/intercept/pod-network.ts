import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { recordOutput } from '../../harness/cambist-process.ts';
import { eventually } from '../../harness/eventually.ts';

const OUTSIDE_PROGRAM = fileURLToPath(new URL('outside.mjs', import.meta.url));

/** Where the backend is, outside of the pod. */
export const OUTSIDE = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' };
const POD = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' };
const BRIDGE = { ipv4: '198.51.100.1', ipv6: '2001:db8:1::1' };
const NESTED = { ipv4: '198.51.100.2', ipv6: '2001:db8:1::2' };

/**
 * Connects the network namespace of this process, the pod, to a new one.
 * @param backend a Unix socket, to which the outside passes connections to port 443
 */
export async function startPodNetwork(backend: string) {
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
  await promisify(execFile)(command, args);
}
