import { join } from 'node:path';
import { runTool } from '../harness/cached-install.ts';
import { installGoSdk, installJavaSdk, installPythonSdk } from './clients/install.ts';
import { buildPrograms } from './cluster/programs.ts';
import { installSuite } from './conformance/suite.ts';
import { installDeployTools } from './deploy/tools.ts';
import { installGoReader, installPythonReaders, installTomcat } from './framing/readers.ts';
import { DEFAULT_REQUIREMENTS, installAgents, KAGENT_REQUIREMENTS } from './inbound/install.ts';
import { installBaggageSdks } from './inbound/sdks.ts';
import { installPythonLibraries } from './intercept/installs.ts';
import { installNode24 } from './node24/install.ts';
import { installRustClient } from './rust/install.ts';
import { installKeycloak } from './servers/keycloak.ts';
import { installSpring } from './servers/spring.ts';
import { installVendorSdks } from './servers/vendor-sdks.ts';
import { installZitadelOidc } from './servers/zitadel-oidc.ts';

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
    script('browser/install-chromium.sh'),
    script('image/install-podman.sh'),
    [
      'the base image',
      () => runTool('.cache/podman/inside', ['bash', 'test/external/image/make-base.sh'], process.cwd()),
    ],
  ],
  [
    ['the conformance suite', installSuite],
    ['Node 24', installNode24],
    ['the SDKs of vendors', installVendorSdks],
    ['the agents', () => installAgents(DEFAULT_REQUIREMENTS)],
    ['kagent', () => installAgents(KAGENT_REQUIREMENTS)],
    ['SDKs of OpenTelemetry', installBaggageSdks],
    ['the Python SDK', () => installPythonSdk()],
    ['the Python SDK 1.x', () => installPythonSdk('requirements-v1.txt')],
    ['servers in Python', installPythonReaders],
    ['clients in Python', installPythonLibraries],
  ],
  [
    ['Keycloak', installKeycloak],
    ['Spring', installSpring],
    ['the Java SDK', installJavaSdk],
    ['Tomcat', installTomcat],
  ],
  [
    ['Kubernetes', buildPrograms],
    ['helm and kustomize', installDeployTools],
    ['the Go SDK', installGoSdk],
    ['zitadel/oidc', installZitadelOidc],
    ['a server in Go', installGoReader],
    ['reqwest', installRustClient],
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
