import { getIn, type JsonObject } from '../../../src/kubernetes/json.ts';
import { pod } from './samples.ts';

export const TRUST = '/run/cambist/trust';
export const BUNDLE = `${TRUST}/bundle.pem`;
export const TRUSTED = {
  NODE_EXTRA_CA_CERTS: `${TRUST}/ca.pem`,
  SSL_CERT_FILE: BUNDLE,
  REQUESTS_CA_BUNDLE: BUNDLE,
  CURL_CA_BUNDLE: BUNDLE,
  GIT_SSL_CAINFO: BUNDLE,
  AWS_CA_BUNDLE: BUNDLE,
  DENO_CERT: BUNDLE,
};
export const TRUSTSTORE = `-Djavax.net.ssl.trustStore=${TRUST}/truststore.p12 -Djavax.net.ssl.trustStoreType=PKCS12`;

export const NAMES = { intercept: 'names', 'intercept-hosts': 'mcp.example.com, jira.example.com' };
export const PACKETS = { intercept: 'packets', 'redirect-image': 'r/cambist-redirect:1' };

export const agent = (keys: JsonObject): JsonObject =>
  pod({ containers: [{ name: 'agent', image: 'agent:1', ...keys }] });
export const spec = (template: JsonObject, ...path: (string | number)[]) => getIn(template, ['spec', ...path]);
