import fc from 'fast-check';
import type { JsonObject } from '../../../src/kubernetes/json.ts';
import type { RawOptions } from '../../../src/kubernetes/options.ts';

/** Keys of labels and annotations, and keys that are special in a JSON Pointer or in JavaScript. */
const KEY = fc.oneof(
  fc.constantFrom('app', 'a/b', 'a~b', '~1', '__proto__', 'constructor', 'yes', 'on', '1', ''),
  fc.string({ maxLength: 6 }).map((text) => `x${text}`),
);

const TEXT = fc.oneof(
  fc.constantFrom('', 'yes', '1', 'a: b', '# no', ' x ', '\n', 'é', '{', '2026-01-01'),
  fc.string(),
);

const MAP = fc.dictionary(KEY, TEXT, { maxKeys: 4, noNullPrototype: true });

const NAME = fc.constantFrom('agent', 'other', 'third', 'loader');

const VARIABLE = fc.record(
  {
    name: fc.constantFrom(
      ...['FOO', 'PORT', 'HTTP_PROXY', 'http_proxy', 'No_Proxy', 'NO_PROXY'],
      ...['HTTPS_PROXY', 'SSL_CERT_FILE', 'JAVA_TOOL_OPTIONS'],
    ),
    value: fc.oneof(TEXT, fc.constantFrom('-Xmx1g', '-Djavax.net.ssl.trustStore=/own')),
  },
  { noNullPrototype: true },
);

/** A value that a manifest can also leave empty or null. */
function maybe<T>(arbitrary: fc.Arbitrary<T>, empty: unknown): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 4, arbitrary }, { weight: 1, arbitrary: fc.constantFrom(empty, null) });
}

const MOUNT = fc.record({ name: NAME, mountPath: fc.constantFrom('/data', '/run') }, { noNullPrototype: true });

const alias = (ip: string, ...names: string[]) => {
  const hostnames = maybe(fc.array(fc.constantFrom(...names), { maxLength: 2 }), []);
  return fc.record({ ip: fc.constant(ip), hostnames }, { requiredKeys: ['ip'], noNullPrototype: true });
};

/** A host that is intercepted must not lead to another address. */
const ALIAS = fc.oneof(alias('127.0.0.1', 'own.example.com', 'other.test'), alias('10.0.0.1', 'own.example.com'));

const SYSCTL = fc.record(
  { name: fc.constantFrom('net.ipv4.ip_unprivileged_port_start', 'kernel.shm_rmid_forced'), value: fc.constant('1') },
  { noNullPrototype: true },
);

const SECURITY = fc.record(
  { sysctls: maybe(fc.array(SYSCTL, { maxLength: 2 }), []), runAsUser: fc.constant(1000) },
  { requiredKeys: [], noNullPrototype: true },
);

const CONTAINER = fc.record(
  {
    name: NAME,
    image: TEXT,
    env: maybe(fc.array(VARIABLE, { maxLength: 3 }), []),
    volumeMounts: maybe(fc.array(MOUNT, { maxLength: 2 }), []),
    args: fc.array(TEXT, { maxLength: 2 }),
  },
  { requiredKeys: ['name'], noNullPrototype: true },
);

const containers = (minLength: number) =>
  fc.uniqueArray(CONTAINER, { minLength, maxLength: 3, selector: ({ name }) => name });

const SPEC = fc.record(
  {
    containers: containers(1),
    initContainers: maybe(containers(0), []),
    volumes: maybe(
      fc.array(fc.record({ name: NAME, emptyDir: fc.constant({}) }, { noNullPrototype: true }), { maxLength: 2 }),
      [],
    ),
    terminationGracePeriodSeconds: fc.integer({ min: 0, max: 100 }),
    hostAliases: maybe(fc.uniqueArray(ALIAS, { maxLength: 2, selector: ({ ip }) => ip }), []),
    securityContext: maybe(SECURITY, {}),
    nodeSelector: maybe(MAP, {}),
  },
  { requiredKeys: ['containers'], noNullPrototype: true },
);

const METADATA = fc.record(
  { name: NAME, annotations: maybe(MAP, {}), labels: maybe(MAP, {}) },
  { requiredKeys: [], noNullPrototype: true },
);

/** A pod or a pod template that can be injected. */
export const ANY_POD: fc.Arbitrary<JsonObject> = fc
  .record({ metadata: maybe(METADATA, {}), spec: SPEC }, { requiredKeys: ['spec'], noNullPrototype: true })
  // A copy through JSON contains no object twice. YAML would write the second as an alias.
  .map((pod) => JSON.parse(JSON.stringify({ apiVersion: 'v1', kind: 'Pod', ...(pod as JsonObject) })) as JsonObject);

/** Any flags of an injection. */
export const ANY_FLAGS: fc.Arbitrary<RawOptions> = fc
  .record(
    {
      intercept: fc.constantFrom('proxy', 'names', 'packets', 'none'),
      secret: fc.constantFrom('s', 'none'),
      'token-audience': fc.constantFrom('https://idp.example.com', 'none'),
      sidecar: fc.constantFrom('native', 'classic'),
      'proxy-env': fc.constantFrom('enabled', 'disabled'),
      'termination-grace-period': fc.constantFrom('20s', '60s', '2m'),
      'log-level': fc.constantFrom('debug', 'none'),
    },
    { requiredKeys: [], noNullPrototype: true },
  )
  .map((flags) => ({ ...flags, 'intercept-hosts': 'mcp.example.com,other.test', 'redirect-image': 'redirect:1' }));
