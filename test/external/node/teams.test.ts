import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { call } from '../../harness/http-call.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { guideScript } from '../cluster/objects.ts';
import { idp, node, run } from './node.ts';
import { addressOf, createNamespace } from './pods.ts';

const NAMESPACE = 'gateway-teams';
const page = readFileSync('deploy/teams.md', 'utf8');
const [, gateway = ''] = fencedBlocks(readFileSync('deploy/chart.md', 'utf8'), 'yaml values');
/** The block of the page, with a backend that exists. */
const block = (language: string): string =>
  fencedBlocks(page, language)[0]?.replace(/(?:\*|ledger)\.billing\.example\.com/, 'ledger-mcp.example.com') ?? '';

/** A changed ConfigMap takes up to 20 s on this node. */
const CHANGE_MS = 60_000;

test('a team adds, breaks and removes its routes while the gateway runs', async (t) => {
  await createNamespace(t, NAMESPACE);
  await node.write('gateway.yaml', gateway);
  await node.write('teams.yaml', block('yaml values'));
  const few = '--set monitoring.podMonitor.enabled=false,gateway.replicas=1,gateway.resources.requests.cpu=100m';
  // Without any ConfigMap of a team.
  await run(`${guideScript('--values teams.yaml').trim().replace('agents', NAMESPACE)} ${few}
    kubectl -n ${NAMESPACE} rollout status deployment/cambist-gateway --timeout=120s`);
  const pods = () => run(`kubectl -n ${NAMESPACE} get pods -o jsonpath='{.items[*].metadata.uid}'`);
  const before = await pods();
  const origin = `http://${await addressOf(NAMESPACE, 'cambist-gateway')}:8180`;
  const headers = { host: 'cambist-gateway.agents.svc', authorization: `Bearer ${await idp.mint()}` };
  const send = async (path: string) => {
    const { status, text } = await call(`${origin}${path}`, { headers });
    return `${status} ${status === 200 ? '' : /ERR_\w+/.exec(text)}`;
  };
  const becomes = (response: string) =>
    eventually(response, async () => (await send('/billing/ledger')) === response, CHANGE_MS, 500);
  const publish = async (file: string) => {
    await node.write('routes/ledger.yaml', file);
    await run(guideScript('--from-file routes').replace('agents', NAMESPACE));
  };

  assert.equal(await send('/billing/ledger'), '403 ERR_ROUTE_NOT_FOUND');
  await run(`mkdir -p routes; kubectl -n ${NAMESPACE} create configmap cambist-team-billing`);
  await publish(block('yaml team'));
  await becomes('200 ');
  await publish(block('yaml team').replace('/billing/ledger', '/support/ledger'));
  await becomes('503 ERR_ROUTES_INVALID');
  assert.equal(await send('/support/ledger'), '403 ERR_ROUTE_NOT_FOUND');
  assert.equal(await send('/github'), '200 ');
  await run(`kubectl -n ${NAMESPACE} delete configmap cambist-team-billing`);
  await becomes('403 ERR_ROUTE_NOT_FOUND');
  assert.equal(await pods(), before);
});
