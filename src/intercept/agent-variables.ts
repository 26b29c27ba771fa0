import { withoutBrackets } from '../host-names.ts';

/** Calls within the pod bypass the proxy. */
export const NO_PROXY = 'localhost,127.0.0.1,::1';

export const TRUST_FILES = {
  /** The certificate authority of cambist alone. */
  authority: 'ca.pem',
  /** The roots of the system, and the certificate authority of cambist. */
  bundle: 'bundle.pem',
  /** The same for Java, as PKCS#12 without a password. */
  truststore: 'truststore.p12',
  /** The proxy and trust variables for a shell. */
  variables: 'env',
} as const;

type Scheme = 'http' | 'https';
const SCHEMES: readonly Scheme[] = ['http', 'https'];

/**
 * The variables by which clients find an HTTP proxy. Clients differ in which spelling they read.
 * @param schemes of the URLs that go through the proxy
 */
export function proxyVariables(proxyUrl: string, schemes = SCHEMES): Record<string, string> {
  const proxies = schemes.map((scheme) => [`${scheme.toUpperCase()}_PROXY`, proxyUrl]);
  const upper: Record<string, string> = { ...Object.fromEntries(proxies), NO_PROXY };
  const lower = Object.entries(upper).map(([name, value]) => [name.toLowerCase(), value]);
  // Node's own client reads the others only with this one.
  return { ...upper, ...Object.fromEntries(lower), NODE_USE_ENV_PROXY: '1' };
}

/** The variables by which clients find certificates to trust. Those that replace the roots of a client name the bundle. */
export function trustVariables(trustDir: string): Record<string, string> {
  const bundle = `${trustDir}/${TRUST_FILES.bundle}`;
  return {
    NODE_EXTRA_CA_CERTS: `${trustDir}/${TRUST_FILES.authority}`,
    SSL_CERT_FILE: bundle,
    REQUESTS_CA_BUNDLE: bundle,
    CURL_CA_BUNDLE: bundle,
    GIT_SSL_CAINFO: bundle,
    AWS_CA_BUNDLE: bundle,
    DENO_CERT: bundle,
  };
}

/** Variables by which single clients find a bundle. Such a client does not read the others, so it needs the bundle here. */
export const OWN_BUNDLE_VARIABLES = [
  'CARGO_HTTP_CAINFO',
  'CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE',
  'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH',
  'HTTPLIB2_CA_CERTS',
  'NIX_SSL_CERT_FILE',
  'NPM_CONFIG_CAFILE',
  'PIP_CERT',
] as const;

/**
 * The variable with the options of Java, which reads no other. A path with white space is quoted, as the JVM reads it.
 * @param proxyUrl undefined: connections arrive without a proxy
 */
export function javaOptions(trustDir: string, proxyUrl?: string, schemes = SCHEMES): Record<string, string> {
  const proxy = proxyUrl === undefined ? undefined : new URL(proxyUrl);
  const properties = [
    ['javax.net.ssl.trustStore', `${trustDir}/${TRUST_FILES.truststore}`],
    ['javax.net.ssl.trustStoreType', 'PKCS12'],
    ...(proxy === undefined
      ? []
      : schemes.flatMap((scheme) => [
          [`${scheme}.proxyHost`, withoutBrackets(proxy.hostname)],
          [`${scheme}.proxyPort`, proxy.port],
        ])),
  ];
  const options = properties.map(([name, value]) => `-D${name}=${value}`);
  const quoted = options.map((option) => (/\s/.test(option) ? `'${option}'` : option));
  return { JAVA_TOOL_OPTIONS: quoted.join(' ') };
}
