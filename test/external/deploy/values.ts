import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { JsonObject } from '../../../src/kubernetes/json.ts';

const readConfig = (folder: string): JsonObject =>
  parse(readFileSync(new URL(`../../../deploy/gateway/${folder}/cambist.yaml`, import.meta.url), 'utf8'));

/** The config of the kustomize base, used wherever a test needs no other. */
export const GATEWAY_CONFIG = readConfig('base');

/** The config of three replicas with a Valkey. */
const SHARED_CONFIG = readConfig('shared-cache');

/** The config of a gateway with TLS that knows its agents. The values of the chart have the two sections. */
const { listen: _listen, agents, ...AGENTS_CONFIG } = readConfig('agents');
const { known } = agents as JsonObject;

const image = { repository: 'registry.example.com/cambist' };
const CA_BUNDLE = Buffer.from('a certificate').toString('base64');

export const VALUES = {
  'webhook with cert-manager': { image, webhook: { enabled: true, certManager: true } },
  'webhook with a Secret': { image, webhook: { enabled: true, caBundle: CA_BUNDLE } },
  gateway: { image, gateway: { enabled: true, secret: 'cambist', config: GATEWAY_CONFIG } },
  'gateway with a shared cache': {
    image,
    gateway: { enabled: true, secret: 'cambist', replicas: 3, config: SHARED_CONFIG },
    valkey: { enabled: true },
  },
  'gateway with agents': {
    image,
    gateway: {
      enabled: true,
      secret: 'cambist',
      tls: { secret: 'cambist-gateway-tls' },
      agents: { known },
      config: AGENTS_CONFIG,
    },
  },
  'gateway with SVIDs': {
    image,
    gateway: {
      enabled: true,
      secret: 'cambist',
      spiffe: { socket: 'spire-agent.sock', listener: true },
      agents: { known: { billing: { spiffe_id: 'spiffe://example.org/billing' } }, issuer: '' },
      config: GATEWAY_CONFIG,
    },
  },
  everything: {
    image: { ...image, tag: '0.1.0', digest: `sha256:${'0'.repeat(64)}`, pullPolicy: 'Always' },
    imagePullSecrets: [{ name: 'registry' }],
    fullnameOverride: 'exchange',
    webhook: {
      enabled: true,
      caBundle: CA_BUNDLE,
      certificateSecret: 'of-our-own',
      replicas: 3,
      injection: {
        'proxy-env': true,
        port: 8181,
        secret: 'cambist',
        intercept: 'packets',
        'intercept-hosts': 'mcp.example.com,*.tools.svc',
        'redirect-image': 'registry.example.com/cambist-redirect:0.1.0',
      },
      nodeSelector: { 'kubernetes.io/os': 'linux' },
      priorityClassName: 'system-cluster-critical',
    },
    gateway: {
      enabled: true,
      secret: 'cambist',
      tokenAudience: 'https://idp.example.com/realms/agents',
      tls: {
        issuerRef: { name: 'internal', kind: 'ClusterIssuer' },
        clientCa: '/var/run/secrets/tls/ca.crt',
        clientCertificate: 'optional',
        admin: true,
      },
      agents: { known: { billing: { spiffe_id: 'spiffe://example.org/billing' } }, issuer: '' },
      autoscaling: { enabled: true },
      teams: { billing: { configMap: 'cambist-team-billing' }, support: { configMap: 'of-support' } },
      files: { 'ca.pem': 'a certificate\nof two lines\n' },
      env: [{ name: 'OTEL_EXPORTER_OTLP_ENDPOINT', value: 'http://collector.monitoring.svc:4318' }],
      volumes: [{ name: 'mesh', emptyDir: { medium: 'Memory' } }],
      volumeMounts: [{ name: 'mesh', mountPath: '/var/run/mesh', readOnly: true }],
      service: { sessionAffinity: 'ClientIP', annotations: { 'example.com/owner': 'platform' } },
      podLabels: { 'example.com/team': 'platform' },
      podAnnotations: { 'example.com/mesh': 'on' },
      tolerations: [{ key: 'agents', operator: 'Exists' }],
      affinity: { nodeAffinity: {} },
      config: {
        ...GATEWAY_CONFIG,
        listen: '[::]:8180',
        admin: '[::]:9180',
        cache: { ...(SHARED_CONFIG.cache as JsonObject), max_entries: 1_000_000 },
        routes_from: ['billing', 'support'].map((name) => ({
          name,
          folder: `/etc/cambist/teams/${name}`,
          paths: [`/${name}`],
          upstreams: ['https://mcp.example.com'],
          credentials: ['none'],
        })),
      },
    },
    valkey: {
      enabled: true,
      image: 'registry.example.com/redis:7.4',
      command: 'redis-server',
      usersSecret: 'users-of-our-own',
      certificateSecret: 'certificate-of-our-own',
      maxMemory: '2gb',
      resources: { requests: { cpu: 1, memory: '3Gi' }, limits: { memory: '3Gi' } },
      podAnnotations: { 'example.com/mesh': 'off' },
      nodeSelector: { 'kubernetes.io/os': 'linux' },
    },
    monitoring: {
      podMonitor: { enabled: true, labels: { release: 'prometheus' } },
      prometheusRule: { enabled: true, labels: { release: 'prometheus' } },
    },
  },
} as const;
