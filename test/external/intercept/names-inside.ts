/**
 * Runs in a network and mount namespace of its own, as a pod does. `/etc/hosts` points the route's host at cambist, and DNS knows where
 * the backend is. Prints the result of the agent, which gets only the trust variables.
 */
import { readFileSync } from 'node:fs';
import { startDnsServer } from '../../harness/dns-server.ts';
import { keepParts } from '../../harness/lifetime.ts';
import { runCommand } from '../../harness/run-command.ts';
import { curlOf, HOST, PROXY_VARIABLES, runClient, startInterceptSetup } from './setup.ts';

const BACKEND_ADDRESS = '127.0.0.9';

const dns = await startDnsServer({
  // A name below the search domain of this namespace.
  'mcp.example.com.search.test': BACKEND_ADDRESS,
  'passed.example.com': BACKEND_ADDRESS,
});
const lifetime = keepParts();
const setup = await startInterceptSetup(lifetime, {
  intercept: { listen: ['127.0.0.1:443', '127.0.0.1:80'] },
  top: { forward_proxy: { connect: ['passed.example.com:443'] } },
  upstream: { host: HOST, address: BACKEND_ADDRESS, port: 443 },
});
try {
  const run = async (url: string, ...more: readonly string[]) => {
    const { code, stdout } = await runClient(setup, curlOf(setup, url, ...more), { without: PROXY_VARIABLES });
    return { code, stdout };
  };
  const passes = ['https://passed.example.com/mcp', '--cacert', `${setup.cambist.directory}/upstream-ca.pem`] as const;
  const routed = await run(`https://${HOST}/elsewhere`);
  const called = await run(`https://${HOST}/mcp`);
  const verified = setup.backend.requests.length;
  const unrouted = await run('https://unrouted.example.com/mcp');
  // Its bytes pass untouched: curl sees the certificate of the backend.
  const passed = await run(...passes);
  const connected = await run(...passes, '--proxy', setup.cambist.url);
  const doctor = await runCommand(['doctor', '--json', '--route', 'mcp', '--config', setup.cambist.configFile]);
  console.log(
    JSON.stringify({
      doctor: JSON.parse(doctor.stdout),
      hosts: readFileSync('/etc/hosts', 'utf8').includes(`127.0.0.1 ${HOST}`),
      routed,
      called,
      verified,
      unrouted,
      passed,
      connected,
      arrivals: await setup.arrivals('redirect'),
      tunnels: await setup.cambist.metric('cambist_tunnels_total'),
      asked: dns.asked,
      leaked: setup.cambist.stdout().includes(setup.token),
    }),
  );
} finally {
  await lifetime.close();
  dns.close();
}
