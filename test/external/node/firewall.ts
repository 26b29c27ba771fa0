import { join } from 'node:path';
import { startServer } from '../../harness/server-process.ts';
import type { Cluster } from '../cluster/cluster.ts';

const START_TIMEOUT_MS = 120_000;

/** Enforces NetworkPolicies as a network plugin does, by the firewall of kube-router. @param address of the DNS server */
export async function startFirewall(cluster: Cluster, program: string, address: string): Promise<void> {
  const { folder, create, run } = cluster;
  // The pages allow DNS in kube-system. A pod that no kubelet runs has the address of the DNS server there.
  await run('kubectl -n kube-system wait --for=create serviceaccount/default');
  const metadata = { namespace: 'kube-system', name: 'dns' };
  const spec = { schedulerName: 'none', containers: [{ name: 'dns', image: 'dns' }] };
  await create({ apiVersion: 'v1', kind: 'Pod', metadata, spec });
  const status = JSON.stringify({ status: { podIP: address, podIPs: [{ ip: address }] } });
  await run(`kubectl -n kube-system patch pod dns --subresource status -p '${status}'`);
  const kubeconfig = `--kubeconfig=${join(folder, 'kubeconfig')}`;
  await startServer({
    command: program,
    args: [kubeconfig, '--hostname-override=node', '--run-router=false', '--run-service-proxy=false'],
    cwd: folder,
    readyUrl: 'http://127.0.0.1:20244/healthz',
    startTimeoutMs: START_TIMEOUT_MS,
  });
}
