import type { SnippetFacts, SnippetRoute } from './snippet-facts.ts';
import { carriersOf } from './snippet-parts.ts';

/** Beside the headers with credentials. Envoy Gateway has no pattern for all headers. */
const SENT = [
  ...['accept', 'content-type', 'origin', 'baggage', 'traceparent', 'x-forwarded-proto', 'x-request-id'],
  ...['mcp-session-id', 'mcp-protocol-version', 'mcp-method', 'mcp-name'],
  ...['sec-fetch-site', 'sec-fetch-mode', 'sec-fetch-dest', 'access-control-request-method'],
];

/** A policy for the HTTPRoute of each route, which has the same name. */
export function envoyGateway(facts: SnippetFacts): string {
  const { secretFile, routes } = facts;
  const note =
    secretFile === undefined
      ? ''
      : `# Envoy Gateway cannot send the secret in ${secretFile}: require client certificates instead.\n`;
  return note + routes.map((route) => policy(route, facts)).join('---\n');
}

function policy(route: SnippetRoute, { routes, timeoutSeconds, decisions }: SnippetFacts): string {
  const { name, named, needsBody } = route;
  const sent = [...new Set([...routes.flatMap(({ removed }) => removed), ...SENT])];
  const kept = [...carriersOf([route]), 'x-request-id'];
  return `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: { name: cambist-${name}, namespace: tools }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: ${name} }]
  extAuth:
    # Nothing passes while cambist does not respond.
    failOpen: false
    statusOnError: 503
    timeout: ${timeoutSeconds}s
    headersToExtAuth: ${JSON.stringify(sent)}${needsBody ? '\n    bodyToExtAuth: { maxRequestBytes: 1048576 }' : ''}
    http:
      path: /ext-authz${named}
      backendRefs: [{ name: cambist-decisions, port: ${decisions.port} }]
      # Without this list, the backend would get the caller's own token.
      headersToBackend: ${JSON.stringify(kept)}
`;
}
