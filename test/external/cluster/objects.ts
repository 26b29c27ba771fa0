import assert from 'node:assert/strict';
import { fencedBlocks, readPagesIn } from '../../harness/pages.ts';
import type { CommandResult } from '../../harness/run-command.ts';

interface Probe {
  readonly httpGet: { readonly path: string };
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly restartPolicy?: string;
  readonly startupProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly resources?: { readonly requests?: { cpu?: string }; readonly limits?: { memory?: string } };
  readonly securityContext?: {
    readonly runAsNonRoot?: boolean;
    readonly runAsUser?: number;
    readonly readOnlyRootFilesystem?: boolean;
    readonly allowPrivilegeEscalation?: boolean;
    readonly privileged?: boolean;
    readonly capabilities?: object;
  };
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly subPath?: string }[];
}

export interface PodSpec {
  readonly automountServiceAccountToken?: boolean;
  readonly terminationGracePeriodSeconds?: number;
  readonly securityContext?: { readonly seccompProfile?: { readonly type: string } };
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes?: readonly { readonly name: string; readonly secret?: { readonly secretName: string } }[];
}

export interface Service {
  readonly spec: { readonly clusterIP: string; readonly ports: readonly { readonly port: number }[] };
}

export interface Metadata {
  readonly name?: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Pod {
  readonly metadata: Metadata;
  readonly spec: PodSpec;
}

export interface Deployment {
  readonly metadata: Metadata;
  readonly spec: {
    readonly replicas?: number;
    readonly selector: object;
    readonly strategy?: { readonly rollingUpdate?: { readonly maxUnavailable?: number } };
    readonly template: Pod;
  };
}

/** Asserts that a command succeeded. @returns its standard output */
export function succeeded({ code, stdout, stderr }: CommandResult): string {
  assert.equal(code, 0, stderr + stdout);
  return stdout;
}

/** Asserts that a command failed. @returns its standard error */
export function failed({ code, stdout, stderr }: CommandResult): string {
  assert.equal(code, 1, stdout);
  return stderr;
}

export const OPTED_IN = { 'cambist.dev/inject': 'enabled' };

/** A pod of an agent that meets the restricted Pod Security Standard. */
export function agentPod(name: string, { labels, annotations, ...rest }: Metadata = {}, spec: object = {}) {
  const securityContext = {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    runAsNonRoot: true,
    seccompProfile: { type: 'RuntimeDefault' },
  };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'agents', ...rest, name, labels, annotations },
    spec: { containers: [{ name: 'agent', image: 'agent:1', securityContext }], ...spec },
  };
}

export function agentDeployment(metadata: Metadata) {
  const labels = { app: 'agent' };
  const template = { metadata: { labels }, spec: agentPod('agent').spec };
  return { apiVersion: 'apps/v1', kind: 'Deployment', metadata, spec: { selector: { matchLabels: labels }, template } };
}

/** The pod that the controller manager would create. */
export function podOf({ metadata: { name, namespace }, spec: { template } }: Deployment) {
  const metadata = { ...template.metadata, generateName: `${name}-`, namespace };
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec: template.spec };
}

export function namesOf(items: readonly { readonly name: string }[] = []): string[] {
  return items.map(({ name }) => name);
}

const guide = readPagesIn('deploy');

/** The shell block of the Kubernetes guide that contains this text. */
export function guideScript(text: string): string {
  const found = fencedBlocks(guide, 'sh').filter((block) => block.includes(text));
  assert.equal(found.length, 1, `blocks of the guide with "${text}"`);
  return found[0] ?? '';
}

export function guideManifests(language: 'yaml' | 'yaml kagent' | 'yaml values'): string[] {
  return fencedBlocks(guide, language);
}
