import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { idp, ledger, node, receivedFor, run } from './node.ts';
import { deleteNamespaces } from './pods.ts';

const page = readFileSync('deploy/gateway-agents.md', 'utf8');
const [prepare = '', certificate = '', issuer = '', install = '', trust = '', firstCall = ''] = fencedBlocks(
  page,
  'sh',
);
const [values = ''] = fencedBlocks(page, 'yaml values');
const [agent = ''] = fencedBlocks(page, 'yaml');

test('the page on a gateway with agents leads from an empty cluster to the first call', async (t) => {
  t.after(() => deleteNamespaces('agents', 'team-a', 'team-b'));
  await node.write('client-secret', 'a-secret');
  await node.write('agent.yaml', agent);
  const token = await idp.mint();
  await node.write('token', token);
  // Without cert-manager, as the page says.
  await node.write('agents.yaml', values.replace(/issuerRef: .*/, 'secret: cambist-gateway-tls'));
  await run(prepare + certificate);
  const { issuer: named } = JSON.parse(await run(issuer)) as { readonly issuer: string };
  assert.equal(named, 'https://kubernetes.default.svc.cluster.local');
  assert.match(await run(install), /keys of issuer "https:\/\/kubernetes[\s\S]*no problem found/);
  await run(trust);

  let response = '';
  const isLetThrough = async () => {
    const { code, stdout } = await node.shell(firstCall);
    response = stdout;
    return code === 0;
  };
  await eventually('the network policy knows the new pod', isLetThrough, 120_000, 500);
  assert.match(response, /^HTTP\/1\.1 200 /m);
  const received = receivedFor(token, ledger);
  assert.equal(received.aud, 'https://ledger-mcp.example.com/mcp');
  assert.equal(received.headers['x-agent-token'], undefined);

  /** The same call with another token of an agent. */
  const callAs = (agentToken: string) =>
    run(`agent=${agentToken}
    ${/.* exec .*/.exec(firstCall)?.[0].replace('$(cat /var/run/cambist/token)', `'$agent'`)}`);
  await run('kubectl -n team-b create serviceaccount support');
  const created = 'kubectl create token --audience cambist -n';
  assert.match(await callAs(`$(${created} team-b support)`), /^HTTP\/1\.1 403 [\s\S]*ERR_AGENT_NOT_ALLOWED/);
  assert.match(await callAs(`$(${created} team-b default)`), /^HTTP\/1\.1 401 [\s\S]*ERR_AGENT_UNKNOWN/);
  assert.match(await callAs("''"), /^HTTP\/1\.1 401 [\s\S]*ERR_AGENT_UNKNOWN/);
  const logs = () => run('kubectl -n agents logs --all-pods deployment/cambist-gateway');
  for (const name of ['billing', 'support']) {
    await eventually(`the log names ${name}`, async () => (await logs()).includes(`"agent":"${name}"`));
  }
});
