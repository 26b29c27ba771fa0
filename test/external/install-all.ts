import { join } from 'node:path';
import { runTool } from '../harness/cached-install.ts';
import { installBaggageSdks } from './inbound/sdks.ts';
import * as installs from './installs.ts';

/** `npm run install:external`: downloads and compiles what the suites of this folder need. Without it, each suite does so itself. */

type Step = readonly [what: string, install: () => Promise<unknown>];

const script = (path: string): Step => [path, () => runTool('bash', [join(import.meta.dirname, path)], process.cwd())];

/** Which run at the same time, because most wait for a network. */
const GROUPS: readonly (readonly Step[])[] = [
  [
    script('store/install-stores.sh'),
    script('prometheus/install-prometheus.sh'),
    script('intercept/install-nftables.sh'),
    script('framing/install-nginx.sh'),
    script('dataplanes/install-haproxy.sh'),
    script('browser/install-chromium.sh'),
    script('image/install-podman.sh'),
    [
      'the base image',
      () => runTool('.cache/podman/inside', ['bash', 'test/external/image/make-base.sh'], process.cwd()),
    ],
  ],
  [
    ['the conformance suite', installs.installConformance],
    ['Node 24', installs.installNode24],
    ['the SDKs of vendors', installs.installVendorSdks],
    ['the agents', installs.installAgents],
    ['kagent', installs.installKagent],
    ['SDKs of OpenTelemetry', installBaggageSdks],
    ['the Python SDK', installs.installPythonSdk],
    ['the Python SDK 1.x', installs.installPythonSdkV1],
    ['servers in Python', installs.installPythonReaders],
    ['clients in Python', installs.installPythonLibraries],
    ['Envoy', installs.installEnvoy],
  ],
  [
    ['Keycloak', installs.installKeycloak],
    ['Spring', installs.installSpring],
    ['the Java SDK', installs.installJavaSdk],
    ['Tomcat', installs.installTomcat],
  ],
  [
    ['Kubernetes', installs.installKubernetes],
    ['containerd and kube-router', installs.installContainerd],
    ['cert-manager', installs.installCertManager],
    ['SPIRE', installs.installSpire],
    ['Caddy', installs.installCaddy],
    ['Traefik', installs.installTraefik],
    ['helm and kustomize', installs.installDeployTools],
    ['the Go SDK', installs.installGoSdk],
    ['zitadel/oidc', installs.installZitadelOidc],
    ['a server in Go', installs.installGoReader],
    ['a client in Go', installs.installMtlsClient],
    ['reqwest', installs.installRustClient],
  ],
];

async function runSteps(steps: readonly Step[]): Promise<void> {
  for (const [what, install] of steps) {
    const startMs = performance.now();
    const error = await install().then(
      () => undefined,
      (error: unknown) => error,
    );
    const seconds = Math.round((performance.now() - startMs) / 1000);
    process.stdout.write(`${seconds} s: ${what}${error === undefined ? '' : ` failed: ${error}`}\n`);
    if (error !== undefined) process.exitCode = 1;
  }
}

await Promise.all(GROUPS.map(runSteps));
