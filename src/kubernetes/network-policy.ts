import type { NetworkPolicy } from 'kubernetes-types/networking/v1.js';
import { stringify } from 'yaml';
import { readStatus } from './injection-status.ts';
import { getIn, isEmpty, isObject, type JsonObject, textOf } from './json.ts';
import type { PodLayout } from './pod-layout.ts';

const LAST_PORT = 65_535;

const NAME_LABELS = ['app.kubernetes.io/name', 'app'];

/**
 * The advice for an injected pod whose agent was moved to another port: how to close that port. Policies add up, so the policy
 * would open ports that another policy for the same pods closes. It is therefore printed, and not added to the manifests.
 * @returns undefined for a pod whose callers connect to the agent itself
 */
export function closingAdvice(template: JsonObject, layout: PodLayout): string | undefined {
  const status = readStatus(template, layout);
  const port = status === undefined || status === 'invalid' ? undefined : status.inbound?.agent;
  if (port === undefined) return undefined;
  const open = `every client that knows the pod's address can call the agent on port ${port}, past cambist`;
  const labels = getIn(template, layout.labels);
  if (!isObject(labels) || isEmpty(labels)) {
    return `${open}: bind the agent to loopback, or give the pod a label that a NetworkPolicy can select`;
  }
  const policy = stringify(policyFor(labels, port));
  return `${open}: bind the agent to loopback, or apply this policy, if no other NetworkPolicy selects the pod:\n\n${policy}`;
}

/** Closes one port, and no other. */
function policyFor(labels: JsonObject, port: number): NetworkPolicy {
  const name = NAME_LABELS.flatMap((label) => textOf(labels[label]) ?? [])[0] ?? 'agent';
  const ports = [
    { protocol: 'TCP', port: 1, endPort: port - 1 },
    { protocol: 'TCP', port: port + 1, endPort: LAST_PORT },
    { protocol: 'UDP', port: 1, endPort: LAST_PORT },
  ];
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: `${name}-agent-port` },
    spec: {
      podSelector: { matchLabels: labels as Record<string, string> },
      policyTypes: ['Ingress'],
      ingress: [{ ports: ports.filter(({ port: first, endPort }) => first <= endPort) }],
    },
  };
}
