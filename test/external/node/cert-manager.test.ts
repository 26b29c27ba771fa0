import { join } from 'node:path';
import { test } from 'node:test';
import { parseAllDocuments, stringify } from 'yaml';
import { eventually } from '../../harness/eventually.ts';
import { startServer } from '../../harness/server-process.ts';
import { OPTED_IN } from '../cluster/objects.ts';
import { installCertManager } from '../installs.ts';
import { node, run } from './node.ts';
import { addressOf, createNamespace, nodePod } from './pods.ts';

const NAMESPACE = 'certified';
/** The webhook of the pages is there as well, so this one is only for pods of one namespace. */
const AGENTS = 'certified-agents';

test('the webhook injects a pod with certificates of cert-manager', async (t) => {
  t.after(() =>
    run(`kubectl delete mutatingwebhookconfiguration ${NAMESPACE}
    kubectl delete namespace ${NAMESPACE} --wait=false`),
  );
  await createNamespace(t, AGENTS);
  const { folder, program } = await installCertManager();
  await run(`kubectl apply --server-side -f ${folder}
    kubectl wait --for=condition=Established crd --all`);
  const { close } = await startServer({
    command: program,
    args: [],
    cwd: node.folder,
    env: { KUBECONFIG: join(node.folder, 'kubeconfig') },
    readyUrl: 'http://127.0.0.1:9402/metrics',
    startTimeoutMs: 60_000,
  });
  t.after(close);
  const manifests = await run('kubectl kustomize deploy/webhook/cert-manager');
  const objects = parseAllDocuments(manifests.replaceAll('cambist-system', NAMESPACE)).map((each) => each.toJS());
  const webhook = objects.find(({ kind }) => kind === 'MutatingWebhookConfiguration');
  webhook.metadata.name = NAMESPACE;
  webhook.webhooks[0].namespaceSelector = { matchLabels: { 'kubernetes.io/metadata.name': AGENTS } };
  await node.write('certified.yaml', objects.map((each) => stringify(each)).join('---\n'));
  await node.write('certified-agent.yaml', stringify(nodePod('agent', { namespace: AGENTS, labels: OPTED_IN })));
  await run(`kubectl apply -f certified.yaml
    kubectl -n ${NAMESPACE} rollout status deployment/cambist-webhook --timeout=120s`);
  await addressOf(NAMESPACE, 'cambist-webhook');
  const created = () => node.shell('kubectl create --dry-run=server -o yaml -f certified-agent.yaml');
  // A review that fails refuses the pod.
  const isInjected = async () => /name: cambist\n/.test((await created()).stdout);
  await eventually('the webhook injects the pod', isInjected, 120_000, 500);
});
