/**
 * Runs in a network and mount namespace of its own, as a pod does. `/etc/hosts` points the route's host at cambist, and DNS knows where
 * the backend is. Calls as an agent that gets only the trust variables.
 */
import assert from 'node:assert/strict';
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
  /** @returns the exit code of curl, and the status */
  const run = async (url: string, ...more: readonly string[]) => {
    const { code, stdout } = await runClient(setup, curlOf(setup, url, ...more), { without: PROXY_VARIABLES });
    return [code, stdout];
  };
  assert.ok(readFileSync('/etc/hosts', 'utf8').includes(`127.0.0.1 ${HOST}`));
  assert.deepEqual(await run(`https://${HOST}/elsewhere`), [0, '403'], 'cambist responds where no route has the path');
  assert.deepEqual(await run(`https://${HOST}/mcp`), [0, '200'], 'the backend accepted the token');
  assert.equal(setup.backend.requests.length, 1);
  assert.equal((await run('https://unrouted.example.com/mcp'))[0], 35, 'the handshake is refused');
  const passes = ['https://passed.example.com/mcp', '--cacert', `${setup.cambist.directory}/upstream-ca.pem`] as const;
  // The bytes pass untouched: curl sees the certificate of the backend, which names another host.
  assert.equal((await run(...passes))[0], 60);
  assert.equal((await run(...passes, '--proxy', setup.cambist.url))[0], 60, 'CONNECT asks DNS as well');
  const doctor = await runCommand(['doctor', '--json', '--route', 'mcp', '--config', setup.cambist.configFile]);
  assert.equal(JSON.parse(doctor.stdout).healthy, true, doctor.stdout);
  assert.ok((await setup.arrivals('redirect')) >= 1);
  assert.equal(await setup.cambist.metric('cambist_tunnels_total'), 2);
  assert.ok(dns.asked.includes('mcp.example.com.search.test'), 'a search domain was applied');
  assert.ok(!setup.cambist.stdout().includes(setup.token));
} finally {
  await lifetime.close();
  dns.close();
}
