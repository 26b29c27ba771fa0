/**
 * Runs in a network and mount namespace of its own, as a pod does, with the rules of the init container. DNS leads to the backend,
 * outside of the pod. Prints what agents got, which have only the trust variables, and what reached the outside.
 */
import { createSocket } from 'node:dgram';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startDnsServer } from '../../harness/dns-server.ts';
import { keepParts } from '../../harness/lifetime.ts';
import { BUILT_PROGRAM, runProgram } from '../../harness/run-command.ts';
import { findPython } from '../installs.ts';
import { OUTSIDE, startPodNetwork } from './pod-network.ts';
import { curlOf, HOST, MCP_URL, PROXY_VARIABLES, program, runClient, startInterceptSetup } from './setup.ts';

const [, , folder = ''] = process.argv;
const REDIRECT = fileURLToPath(new URL('../../../deploy/redirect/redirect.sh', import.meta.url));
const CAMBIST_UID = '65532';
/** The user of the sidecar. It may read the files of the user who runs the tests. */
const AS_CAMBIST = [
  ...['setpriv', `--reuid=${CAMBIST_UID}`, `--regid=${CAMBIST_UID}`, '--clear-groups'],
  ...['--inh-caps=+dac_override', '--ambient-caps=+dac_override'],
] as const;

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
const rules = ['--uid', CAMBIST_UID, '--redirect', '443:15443', '--redirect', '80:15080'];

/** Sends a datagram to the port of HTTP/3. @returns the error that the agent gets */
async function sendDatagram(address: string): Promise<string> {
  const datagram = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const outcome = new Promise<string>((resolve) => {
    datagram.once('error', ({ message }) => resolve(message)).once('message', String);
    datagram.connect(443, address, () => datagram.send('x', (error) => resolve(error?.message ?? 'sent')));
  });
  return outcome.finally(() => datagram.close());
}

try {
  const nestedCurl = curl(MCP_URL, '--resolve', `${HOST}:443:${OUTSIDE.ipv4}`);
  const before = {
    curl: await agent(curl(MCP_URL)),
    datagram: await sendDatagram(OUTSIDE.ipv4),
    nested: await agent(nestedCurl, network.enterNested),
  };
  const loaded = await redirect('--uid', CAMBIST_UID, '--redirect', '443:1');
  const again = await redirect(...rules);
  const listed = await runProgram('nft', ['-y', 'list', 'ruleset']);
  const backendRequests = setup.backend.requests.length;
  const agents = {
    ipv4: await agent(curl(MCP_URL)),
    ipv6: await agent(curl(MCP_URL, '--resolve', `${HOST}:443:[${OUTSIDE.ipv6}]`)),
    plain: await agent(curl(MCP_URL.replace('https:', 'http:'))),
    python: await agent([findPython(), program('urllib_client.py')]),
    node: await agent([process.execPath, program('fetch.mjs')]),
  };
  const verified = setup.backend.requests.length - backendRequests;
  const unrouted = await agent(curl('https://unrouted.example.com/mcp'));
  const otherPort = await agent(curl(`https://${HOST}:8443/mcp`));
  const cambistItself = await agent(curl(MCP_URL), AS_CAMBIST);
  const nested = await agent(nestedCurl, network.enterNested);
  const datagrams = { ipv4: await sendDatagram(OUTSIDE.ipv4), ipv6: await sendDatagram(OUTSIDE.ipv6) };
  const leaked = setup.cambist.stdout().includes(setup.token);
  // Connection tracking ignores these packets, so that no redirection takes them.
  await runProgram('nft', ['add table inet other']);
  await runProgram('nft', ['add chain inet other c { type filter hook output priority -300; }']);
  await runProgram('nft', ['add rule inet other c tcp dport 443 notrack']);
  const untracked = await agent(curl(MCP_URL));
  await runProgram('nft', ['delete table inet other']);
  await setup.cambist.close();
  const stopped = await agent(curl(MCP_URL));
  console.log(
    JSON.stringify({
      ...{ before, loaded, again, listed, agents, verified, unrouted, otherPort, cambistItself, nested, untracked },
      ...{ stopped, datagrams: { ...datagrams, outside: network.arrived('udp') }, leaked },
    }),
  );
} finally {
  await lifetime.close();
  network.close();
  dns.close();
}
