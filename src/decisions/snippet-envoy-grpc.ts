import { type Asking, exactly, indent, injectSecret, isNamedOnRoutes, protocol, TYPE } from './snippet-envoy.ts';
import type { SnippetFacts } from './snippet-facts.ts';

/** Envoy asks by ext_proc: a filter of the listener asks for the decision, and one of the backend's cluster is there for each attempt. */
export function byExtProc(facts: SnippetFacts): Asking {
  const { routes, routesBy, secretFile, forwardedHeader } = facts;
  const isEach = isNamedOnRoutes(facts);
  const route = (name: string | undefined): string => `[{ key: x-cambist-route, value: ${name} }]`;
  // Without a name here, cambist refuses what the routes below do not name.
  const metadata = routesBy === 'match' || isEach ? '' : route(routes[0]?.name);
  const forged = forwardedHeader === undefined ? [] : [forwardedHeader];
  const hidden = `\nforward_rules: { disallowed_headers: { patterns: [${forged.map(exactly).join(', ')}] } }`;
  return {
    head: `# Tried with Envoy 1.40.
layered_runtime:
  layers:
    - name: cambist
      # Envoy ends its calls. It would otherwise reset them, and Node 20 then closes the connection at 15 requests a second.
      static_layer: { envoy.reloadable_features.ext_proc_graceful_grpc_close: true }
`,
    filter: `- name: envoy.filters.http.ext_proc
  typed_config:
    '@type': ${TYPE}.filters.http.ext_proc.v3.ExternalProcessor
${indent(4, settings(facts, metadata))}${forged.length === 0 ? '' : indent(4, hidden)}
    metadata_options: { receiving_namespaces: { untyped: [cambist] } }`,
    name: 'envoy.filters.http.ext_proc',
    onRoute: `${TYPE}.filters.http.ext_proc.v3.ExtProcPerRoute`,
    settings({ name, needsBody }) {
      const own = [
        ...(isEach ? [`grpc_initial_metadata: ${route(name)}`] : []),
        ...(needsBody ? [`processing_mode: { request_body_mode: BUFFERED }`] : []),
      ];
      return own.length === 0 ? '' : `overrides: { ${own.join(', ')} }`;
    },
    // Once, and with the next token: cambist drops the refused one before.
    retry: '\n    retry_policy: { retry_on: retriable-status-codes, retriable_status_codes: [401], num_retries: 1 }',
    // Each request holds calls open until its response begins.
    toCambist: `${breakers('max_requests: 20000')}${protocol('http2_protocol_options', secretFile === undefined ? '' : injectSecret)}`,
    // By default, Envoy retries three requests at a time.
    toBackend: `${breakers('max_retries: 1024')}${protocol(
      'http_protocol_options',
      `# Named apart from the filter of the listener, whose settings on routes are not for this one.
- name: cambist_attempts
  typed_config:
    '@type': ${TYPE}.filters.http.ext_proc.v3.ExternalProcessor
${indent(4, settings(facts, '[{ key: x-cambist-filter, value: upstream }]'))}
    metadata_options: { forwarding_namespaces: { untyped: [cambist] } }`,
    )}`,
  };
}

function settings({ timeoutSeconds }: SnippetFacts, metadata: string): string {
  return `grpc_service:
  envoy_grpc: { cluster_name: cambist_decisions }${metadata === '' ? '' : `\n  initial_metadata: ${metadata}`}
message_timeout: ${timeoutSeconds}s
# Nothing passes while cambist does not respond.
failure_mode_allow: false
status_on_error: { code: ServiceUnavailable }
# A change that Envoy does not allow is an error.
mutation_rules: { allow_envoy: true, disallow_is_error: true }`;
}

function breakers(threshold: string): string {
  return `\n      circuit_breakers: { thresholds: [{ ${threshold} }] }`;
}
