import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { codeWords, fencedBlocks, readProse } from '../../harness/pages.ts';
import { installDeployTools } from '../installs.ts';
import { startCluster } from './cluster.ts';
import { agentPod, guideScript } from './objects.ts';

const page = readFileSync('deploy/teams.md', 'utf8');
const [manifests = ''] = fencedBlocks(page, 'yaml');
const [values = ''] = fencedBlocks(page, 'yaml values');
const [routes = ''] = fencedBlocks(page, 'yaml team');
const [gatewayValues = ''] = fencedBlocks(readFileSync('deploy/chart.md', 'utf8'), 'yaml values').slice(1);
const newToken = codeWords(readProse('deploy/teams.md')).find((command) => command.includes('create token')) ?? '';

const cluster = await startCluster({
  namespaces: { agents: 'restricted', 'team-a': 'restricted', 'team-b': 'restricted' },
  kinds: ['monitoring.coreos.com_podmonitors.yaml'],
  path: await installDeployTools(),
});
const { run, shell, follow, write } = cluster;

await write('gateway.yaml', gatewayValues);
await write('teams.yaml', values);
await run(guideScript('--values teams.yaml'));
await run('kubectl -n agents create secret generic cambist --from-literal=client-secret=known');
const ofSupport = (text: string) => text.replaceAll('billing', 'support').replaceAll('team-a', 'team-b');
const allow = 'kubectl apply -f team-billing.yaml';
await write('team-support.yaml', ofSupport(manifests));
await run(ofSupport(guideScript(allow)));
await write('team-billing.yaml', manifests);
const listed = await follow(allow);
await run(`mkdir routes; cp "$KUBECONFIG" team.config
  kubectl --kubeconfig team.config config set-credentials admin --token="$(${newToken})"`);

/** Runs a script as the service account of the team. */
const asTeam = (script: string) => shell(`export KUBECONFIG=team.config\n${script}`);

async function publish(): Promise<Record<string, string> | undefined> {
  const { code, stderr } = await asTeam(guideScript('--from-file routes'));
  assert.equal(code, 0, stderr);
  return read();
}

async function read(): Promise<Record<string, string> | undefined> {
  const { data } = await cluster.read<{ data?: Record<string, string> }>(
    ...['-n', 'agents', 'configmap', 'cambist-team-billing'],
  );
  return data;
}

test('a team publishes its routes by the command of the page, and a removed file is gone', async () => {
  assert.equal(await read(), undefined);
  await write('routes/ledger.yaml', routes);
  assert.deepEqual(await publish(), { 'ledger.yaml': routes });
  await run('mv routes/ledger.yaml routes/books.yaml');
  assert.deepEqual(await publish(), { 'books.yaml': routes });
  await run(allow);
  assert.deepEqual(await read(), { 'books.yaml': routes });
  const { code } = await asTeam('kubectl -n agents get configmap cambist-team-billing -o yaml | kubectl replace -f -');
  assert.equal(code, 0);
});

test('the routes of the page are valid for the entry that the chart installed', async () => {
  const config = await run("kubectl -n agents get configmap cambist-gateway -o jsonpath='{.data.cambist\\.yaml}'");
  await write('main.yaml', config);
  const check = 'cambist validate --config main.yaml --routes routes --as billing';
  assert.match(await run(check), /^routes: valid: 1 route, 1 authorization server$/m);
});

const OTHER = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'cambist-team-support', namespace: 'agents' } };
const CONFIG_MAPS = '/api/v1/namespaces/agents/configmaps';

const FORBIDDEN: readonly string[] = [
  'get configmap cambist-team-support',
  `patch configmap cambist-team-support --patch '{"data":{"a.yaml":""}}'`,
  `replace --raw ${CONFIG_MAPS}/cambist-team-support -f other.json`,
  'apply --server-side -f other.json',
  'delete configmap cambist-team-support',
  'delete configmap cambist-team-billing',
  `delete --raw ${CONFIG_MAPS}`,
  'create configmap another',
  'create configmap cambist-team-third',
  'get configmaps',
  'get configmaps --field-selector metadata.name=cambist-team-support',
  'get configmaps --field-selector metadata.name=cambist-team-billing',
  `get --raw '${CONFIG_MAPS}?watch=1'`,
  'get configmap cambist-gateway',
  `patch configmap cambist-gateway --patch '{"data":{"cambist.yaml":""}}'`,
  'get secret cambist',
  'get secrets',
  'get pods',
  'create -f pod.json',
  'get deployment cambist-gateway',
  'rollout restart deployment cambist-gateway',
  'get role cambist-team-billing',
  `patch role cambist-team-billing --patch '{"rules":[]}'`,
  'create rolebinding more --role cambist-team-billing --serviceaccount team-a:default',
  'create token cambist-gateway',
  '--namespace team-a get configmaps',
  '--namespace team-a create token routes',
];

test('a team can do nothing else', async () => {
  await write('other.json', JSON.stringify({ ...OTHER, data: { 'a.yaml': '' } }));
  await write('pod.json', JSON.stringify(agentPod('of-the-team')));
  for (const args of FORBIDDEN) {
    const { code, stderr } = await asTeam(`kubectl --namespace agents ${args}`);
    assert.equal(code, 1, args);
    assert.match(stderr, /forbidden/i, args);
  }
  const { data } = await cluster.read<{ data?: object }>('-n', 'agents', 'configmap', 'cambist-team-support');
  assert.equal(data, undefined);
});

test('a team has one permission more than any service account, as the list of the page shows', async () => {
  const rulesOf = async (account: string, namespace: string) =>
    linesOf(await run(`kubectl auth can-i --list -n ${namespace} --as system:serviceaccount:${account}`));
  const anyone = new Set(await rulesOf('team-a:default', 'agents'));
  assert.deepEqual(
    linesOf(listed).filter((line) => !anyone.has(line) && line.includes('[')),
    ['configmaps [] [cambist-team-billing] [get update patch]'],
  );
  for (const namespace of ['team-a', 'team-b', 'default', 'kube-system']) {
    const own = await rulesOf('team-a:routes', namespace);
    assert.deepEqual(own.sort(), (await rulesOf('team-a:default', namespace)).sort(), namespace);
  }
});

test('a team cannot create its ConfigMap again', async () => {
  await run('kubectl -n agents delete configmap cambist-team-billing');
  const { code, stderr } = await asTeam(guideScript('--from-file routes'));
  assert.equal(code, 1);
  assert.match(stderr, /forbidden/i);
});

/** With single spaces. */
function linesOf(output: string): string[] {
  return output.split('\n').map((line) => line.trim().replace(/ +/g, ' '));
}
