import type { SnippetFacts, SnippetRoute } from './snippet-facts.ts';

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

function policy(route: SnippetRoute, { routesBy, routes, timeoutSeconds, decisions }: SnippetFacts): string {
  const { name, credentialHeader, needsBody } = route;
  const prefix = routesBy === 'name' ? `/ext-authz/${name}` : '/ext-authz';
  const credentials = routes.flatMap(({ removed }) => removed.filter((header) => !header.includes('_')));
  const sent = [...new Set([...credentials, ...SENT])];
  const kept = [...(credentialHeader === undefined ? [] : [credentialHeader]), 'x-request-id'];
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
      path: ${prefix}
      backendRefs: [{ name: cambist-decisions, port: ${decisions.kind === 'tcp' ? decisions.port : 8183} }]
      # Without this list, the backend would get the caller's own token.
      headersToBackend: ${JSON.stringify(kept)}
`;
}
