import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { getIn } from '../../../src/kubernetes/json.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { runProgram, succeeded } from '../../harness/run-command.ts';
import { container, inject, pod } from '../../unit/kubernetes/samples.ts';
import { findPython } from '../installs.ts';
import { program } from './setup.ts';

const here = (name: string): string => join(import.meta.dirname, name);
const REDIRECT = here('../../../deploy/redirect/redirect.sh');
const PATH = `${here('../../../.cache/nftables/bin')}:${process.env.PATH}`;
const USER = ['--uid', '65532'];
const REDIRECTION = ['--redirect', '443:15443'];
const RULES = [...USER, ...REDIRECTION];
/** A network with a way out that leads nowhere. */
const NETWORK =
  'ip link set lo up && ip link add name pod type veth peer name out && ip link set pod up && ip link set out up && ip address add 192.0.2.2/24 dev pod';

/** Runs the init container's program with a kernel of its own rules. */
function redirect(args: readonly string[], { path = PATH, as = [] as readonly string[] } = {}) {
  return runProgram('unshare', ['-n', ...as, REDIRECT, ...args], { env: { PATH: path } });
}

/** Runs commands in a network of their own, each if the previous one succeeds. @returns what they print */
async function inNetwork(namespaces: string, ...commands: string[]): Promise<string> {
  const script = commands.join(' && ');
  return succeeded(await runProgram('unshare', [namespaces, 'bash', '-c', script], { env: { PATH } }));
}

test('an agent without any variable for a proxy is redirected to cambist, and none of its packets pass by', async (t) => {
  const folder = temporaryFolder(t);
  await writeFile(join(folder, 'resolv.conf'), 'nameserver 127.0.0.1\n');
  await inNetwork(
    '-mn',
    'ip link set lo up',
    `mount --bind ${folder}/resolv.conf /etc/resolv.conf`,
    `exec ${process.execPath} --import tsx ${here('packets-inside.ts')} ${folder}`,
  );
});

test('redirects beside rules of iptables, of both kinds, and leaves them as they are', async (t) => {
  const folder = temporaryFolder(t);
  const server = "createServer((socket) => socket.end()).listen(15443, '127.0.0.1', () => ";
  const client = "connect(443, '192.0.2.1').once('connect', () => { console.log('redirected'); process.exit(); })";
  await writeFile(
    join(folder, 'call.cjs'),
    `const { connect, createServer } = require('node:net'); ${server}${client})`,
  );
  const kinds = ['iptables-nft', 'iptables-legacy'];
  const printed = await inNetwork(
    '-n',
    NETWORK,
    // As a mesh has it for its own proxy. The first rule of a chain decides for that chain alone.
    ...kinds.map((kind) => `${kind} -t nat -A OUTPUT -p tcp --dport 443 -j ACCEPT`),
    `${REDIRECT} ${RULES.join(' ')}`,
    `${process.execPath} ${folder}/call.cjs`,
    ...kinds.map((kind) => `${kind} -t nat -S OUTPUT`),
  );
  assert.match(printed, /^redirected$/m);
  assert.equal(printed.match(/^-A OUTPUT -p tcp -m tcp --dport 443 -j ACCEPT$/gm)?.length, kinds.length);
});

for (const [kind, left] of [
  ['raw', 0],
  ['packet', 1],
] as const) {
  test(`of the packets of a ${kind} socket, ${left} get past the rules`, async () => {
    const printed = await inNetwork(
      '-n',
      NETWORK,
      'ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev pod',
      `${REDIRECT} ${RULES.join(' ')}`,
      `${findPython()} ${program('raw_packets.py')} ${kind}`,
    );
    assert.equal(printed.trimEnd().split('\n').at(-1), String(left));
  });
}

test('loads the rules for the ports and the user of cambist in a pod that inject makes', async () => {
  const { template } = inject(pod(), { intercept: 'packets', 'redirect-image': 'r' });
  const args = container(template, 'cambist-redirect')?.args as string[];
  const user = getIn(container(template), ['securityContext', 'runAsUser']);
  const list = ['sh', '-c', '"$@" && nft list table inet cambist', 'sh'];
  const listed = succeeded(await redirect(args, { as: list }));
  assert.match(listed, new RegExp(`skuid ${user} `));
  for (const [from, to] of [
    [443, 15443],
    [80, 15080],
  ]) {
    assert.match(listed, new RegExp(`tcp dport ${from} .*redirect to :${to}`));
  }
});

test('fails without NET_ADMIN', async () => {
  const { code, stdout, stderr } = await redirect(RULES, { as: ['setpriv', '--bounding-set=-net_admin'] });
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /the kernel refused the rules; this container needs NET_ADMIN.*Operation not permitted/s);
});

test('fails if the kernel has other rules than those that it loaded', async (t) => {
  const folder = temporaryFolder(t);
  const nft = `${PATH.split(':')[0]}/nft`;
  for (const [load, message] of [
    ['exit 0', /the rules cannot be read back.*No such file/s],
    [`sed s/:15443/:1/ | ${nft} -f -`, /the kernel has other rules than those that were loaded:.*redirect to :1\n/s],
  ] as const) {
    await writeFile(join(folder, 'nft'), `#!/bin/sh\ncase $1 in -f) ${load} ;; *) exec ${nft} "$@" ;; esac\n`);
    await chmod(join(folder, 'nft'), 0o755);
    const { code, stderr } = await redirect(RULES, { path: `${folder}:${PATH}` });
    assert.equal(code, 1);
    assert.match(stderr, message);
  }
});

for (const [what, args, message] of [
  ['no user', REDIRECTION, /missing --uid/],
  ['root as the user of cambist', ['--uid', '0', ...REDIRECTION], /--uid 0: let cambist run as another user/],
  ['a name as the user', ['--uid', 'cambist', ...REDIRECTION], /invalid --uid "cambist"/],
  ['no port', USER, /missing --redirect/],
  ['one port alone', [...USER, '--redirect', '443'], /invalid --redirect "443"/],
  ['a third port', [...USER, '--redirect', '443:15443:1'], /invalid --redirect/],
  ['a port above 65535', [...USER, '--redirect', '443:65536'], /invalid --redirect/],
  ['nftables syntax', [...USER, '--redirect', '443:1; flush ruleset'], /invalid --redirect/],
  ['a port twice', [...RULES, '--redirect', '443:15444'], /port 443 is redirected twice/],
  ['another option', [...RULES, '--port', '1'], /unknown option "--port"/],
  ['an option without value', [...RULES, '--redirect'], /missing value of --redirect/],
] as const) {
  test(`refuses ${what}, and loads no rule`, async () => {
    const { code, stderr } = await redirect(args, { path: '/usr/bin:/bin' });
    assert.equal(code, 1);
    assert.match(stderr, message);
  });
}
