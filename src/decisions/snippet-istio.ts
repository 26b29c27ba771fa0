import { isLoopback, withBrackets } from '../host-names.ts';
import { SECRET_HEADER } from './report.ts';
import type { SnippetFacts, SnippetRoute } from './snippet-facts.ts';
import { carriersOf } from './snippet-parts.ts';

/** Beside the headers with credentials. Istio has no pattern for all headers. */
const SENT = [
  'accept',
  'content-type',
  'origin',
  'baggage',
  'cookie',
  'traceparent',
  'mcp-*',
  'sec-fetch-*',
  'access-control-request-*',
  'x-*',
];

/** Mesh config and policies: the sidecar of each backend asks about every request to it. */
export function istio(facts: SnippetFacts): string {
  return `# file: mesh-config.yaml
# Merge into the mesh config (meshConfig of IstioOperator or of the chart).
extensionProviders:
${facts.routes.map((route) => provider(route, facts)).join('\n')}
---
# file: policies.yaml
${facts.routes.map(policy).join('---\n')}`;
}

function provider(route: SnippetRoute, facts: SnippetFacts): string {
  const { decisions, secretFile, timeoutSeconds, routes } = facts;
  const { host, port } = decisions;
  const service = isLoopback(withBrackets(host)) ? 'cambist.agents.svc.cluster.local' : host;
  const credentials = new Set(routes.flatMap(({ removed }) => removed));
  const names = [...credentials].filter((name) => !name.startsWith('x-'));
  const body = `
      includeRequestBodyInCheck: { maxRequestBytes: 1048576, packAsBytes: true }`;
  const secret = `
      # The content of ${JSON.stringify(secretFile)} in cambist's config.
      includeAdditionalHeadersInCheck: { ${SECRET_HEADER}: "" }`;
  return `  - name: cambist-${route.name}
    envoyExtAuthzHttp:
      service: ${service}
      port: ${port}
      pathPrefix: /ext-authz${route.named}
      timeout: ${timeoutSeconds}s
      # Nothing passes while cambist does not respond.
      failOpen: false
      statusOnError: "503"
      includeRequestHeadersInCheck: ${JSON.stringify([...names, ...SENT])}
      # Without this list, the backend would get the caller's own token.
      headersToUpstreamOnAllow: ${JSON.stringify([...carriersOf([route]), 'x-request-id'])}${route.needsBody ? body : ''}${secretFile === undefined ? '' : secret}`;
}

/** Without paths in its rule: a request that no rule matches would pass without a decision. */
function policy({ name }: SnippetRoute): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: cambist-${name}, namespace: tools }
spec:
  selector: { matchLabels: { app: ${name} } }
  action: CUSTOM
  provider: { name: cambist-${name} }
  rules: [{}]
`;
}
