import { isIP } from 'node:net';
import { SECRET_HEADER } from './report.ts';
import type { SnippetFacts, SnippetRoute, Target } from './snippet-facts.ts';
import { carriersOf, escaped, FORWARDED, prefixOf } from './snippet-parts.ts';

export const TYPE = 'type.googleapis.com/envoy.extensions';

/** The parts of Envoy's config that depend on the protocol by which Envoy asks. */
export interface Asking {
  /** The first lines of the config. */
  readonly head: string;
  /** The filter of the listener. */
  readonly filter: string;
  /** Its name, and the type of its settings on routes. */
  readonly name: string;
  readonly onRoute: string;
  /** Its settings on a route. Empty: the usual ones. */
  settings(route: SnippetRoute): string;
  /** The retries of each route to a backend. */
  readonly retry: string;
  /** The protocol options of the clusters of cambist and of the backends. */
  readonly toCambist: string;
  readonly toBackend: string;
}

/** The bootstrap of an Envoy that asks cambist. */
export function envoy(facts: SnippetFacts, asking: Asking): string {
  const { routes, routesBy, decisions, listen, secretFile } = facts;
  const isNamed = routesBy === 'name';
  // Envoy reads no message: one of its routes stands for all that share a path, and cambist tells them apart.
  const forwarded = isNamed ? routes : routes.filter((route, at) => routes.findIndex(isSame(route)) === at);
  return `# Envoy asks cambist about each request, and forwards it with the issued token in place of the caller's.
${asking.head}static_resources:
${secretFile === undefined ? '' : secret(secretFile)}  listeners:
    - name: agents
      address: { socket_address: { address: 0.0.0.0, port_value: 8080 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                '@type': ${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: agents
                # Clients cannot set x-forwarded-for, x-forwarded-proto and x-envoy-*.
                use_remote_address: true
                # Envoy, cambist and the backend read one path.
                normalize_path: true
                merge_slashes: true
                path_with_escaped_slashes_action: REJECT_REQUEST
                request_headers_timeout: 10s
                # Event streams may be silent for long.
                stream_idle_timeout: 3600s
                upgrade_configs: [{ upgrade_type: websocket }]
                http_filters:
${indent(18, asking.filter)}
                  - name: envoy.filters.http.router
                    typed_config: { '@type': ${TYPE}.filters.http.router.v3.Router, suppress_envoy_headers: true }
                route_config:
                  # Nor these, which Envoy leaves as they are.
                  request_headers_to_remove: [${[SECRET_HEADER, 'x-forwarded-host', ...FORWARDED].join(', ')}]
                  virtual_hosts:
                    - name: backends
                      domains: ['*']
                      routes:
                        # cambist tells clients where to get a token.
                        - match: { path_separated_prefix: /.well-known/oauth-protected-resource }
                          route: { cluster: cambist_listen }
                          typed_per_filter_config:
                            ${asking.name}: { '@type': ${asking.onRoute}, disabled: true }
${forwarded.map((route) => indent(24, forward(route, asking))).join('\n')}
  clusters:
${cluster('cambist_decisions', decisions, asking.toCambist)}
${cluster('cambist_listen', listen)}
${forwarded.map((route) => cluster(route.name, route.backend, asking.toBackend)).join('\n')}
`;
}

const isSame =
  ({ host, path, methods }: SnippetRoute) =>
  (other: SnippetRoute): boolean =>
    other.host === host && other.path === path && String(other.methods) === String(methods);

/** Headers that stay away from cambist. Envoy itself drops a client's `x-forwarded-client-cert`. */
function unsent({ forwardedHeader }: SnippetFacts): string[] {
  const forged =
    forwardedHeader === undefined || forwardedHeader === 'x-forwarded-client-cert' ? [] : [forwardedHeader];
  return ['connection', 'upgrade', 'expect', 'te', SECRET_HEADER, ...forged];
}

export const exactly = (name: string): string => `{ exact: ${quoted(name)} }`;

/** Each route of Envoy names its own. */
export const isNamedOnRoutes = ({ routesBy, routes }: SnippetFacts): boolean =>
  routesBy === 'name' && routes.length > 1;

/** Envoy asks by ext_authz over HTTP. */
export function byExtAuthz(facts: SnippetFacts): Asking {
  const { routes, routesBy, secretFile } = facts;
  const isEach = isNamedOnRoutes(facts);
  // Where routes need a service each, the service for all others names no route, and cambist refuses.
  const common = routesBy === 'match' ? '/ext-authz' : isEach ? '/no-route' : `/ext-authz/${routes[0]?.name}`;
  return {
    head: isEach
      ? '# Needs an Envoy with check_settings.http_service (1.40 has it). Older ones: one listener for each route (--route NAME).\n'
      : '',
    filter: `- name: envoy.filters.http.ext_authz
  typed_config:
    '@type': ${TYPE}.filters.http.ext_authz.v3.ExtAuthz
    # Nothing passes while cambist does not respond.
    failure_mode_allow: false
    status_on_error: { code: ServiceUnavailable }
    # All: cambist removes every copy of the caller's token.
    allowed_headers: { patterns: [{ safe_regex: { regex: '.*' } }] }
    disallowed_headers:
      patterns: [${unsent(facts).map(exactly).join(', ')}]
    http_service:
${indent(6, service(common, routes, facts))}`,
    name: 'envoy.filters.http.ext_authz',
    onRoute: `${TYPE}.filters.http.ext_authz.v3.ExtAuthzPerRoute`,
    settings(route) {
      const own = isEach ? `\nhttp_service:\n${indent(2, service(`/ext-authz/${route.name}`, [route], facts))}` : '';
      const body = '\nwith_request_body: { max_request_bytes: 1048576, pack_as_bytes: true }';
      const settings = `${own}${route.needsBody ? body : ''}`;
      return settings === '' ? '' : `check_settings:${indent(2, settings)}`;
    },
    retry: '',
    toCambist: secretFile === undefined ? '' : protocol('http_protocol_options', injectSecret),
    toBackend: '',
  };
}

/** The question to cambist. The backend gets only the listed headers of the response. */
function service(prefix: string, routes: readonly SnippetRoute[], { timeoutSeconds }: SnippetFacts): string {
  const patterns = [...carriersOf(routes), 'x-request-id'].map(exactly).join(', ');
  return `path_prefix: ${prefix}
server_uri: { uri: 'http://cambist', cluster: cambist_decisions, timeout: ${timeoutSeconds}s }
# Without this list, the backend would get the caller's own token.
authorization_response: { allowed_upstream_headers: { patterns: [${patterns}] } }`;
}

function forward(route: SnippetRoute, { name: filter, onRoute, settings, retry }: Asking): string {
  const { name, host, path, methods, upstream } = route;
  const prefix = path === '/' ? 'prefix: /' : `path_separated_prefix: ${quoted(path)}`;
  const conditions = [
    ...(host === undefined ? [] : [headerMatch(':authority', hostPattern(host))]),
    ...(methods === undefined ? [] : [headerMatch(':method', methods.join('|'))]),
  ];
  const match = conditions.length === 0 ? '' : `, headers: [${conditions.join(', ')}]`;
  const own = settings(route);
  const checked = `
  typed_per_filter_config:
    ${filter}:
      '@type': ${onRoute}
${indent(6, own)}`;
  return `- match: { ${prefix}${match} }
  route:
    cluster: ${name}
    timeout: 0s
    host_rewrite_literal: ${quoted(upstream.host)}
    regex_rewrite: ${rewrite(route)}${retry}${own === '' ? '' : checked}`;
}

function headerMatch(name: string, regex: string): string {
  return `{ name: '${name}', string_match: { safe_regex: { regex: ${quoted(regex)} } } }`;
}

/** The port and the case of a host do not count. */
function hostPattern(host: string): string {
  const name = host.startsWith('*.') ? `[^:]+${escaped(host.slice(1))}` : escaped(host);
  return `(?i)${name}\\.?(:\\d+)?`;
}

/** The path of the upstream replaces the path of the route, as in `upstreamPath` of `routing/request-target.ts`. */
function rewrite(route: SnippetRoute): string {
  const target = route.upstream.path === '' ? '/' : route.upstream.path;
  const prefix = prefixOf(route);
  const end = target.endsWith('/') ? '/?' : '';
  const regex = prefix === '' && end === '' ? '^/$|^' : `^${prefix}${end}`;
  return `{ pattern: { regex: ${quoted(regex)} }, substitution: ${quoted(target)} }`;
}

function cluster(name: string, { socketPath, host, port, tls }: Target, more = ''): string {
  const address =
    socketPath === undefined
      ? `socket_address: { address: ${quoted(host)}, port_value: ${port} }`
      : `pipe: { path: ${quoted(socketPath)} }`;
  return `    - name: ${name}
      type: ${socketPath === undefined ? 'STRICT_DNS' : 'STATIC'}
      load_assignment:
        cluster_name: ${name}
        endpoints: [{ lb_endpoints: [{ endpoint: { address: { ${address} } } }] }]${tls === undefined ? '' : transport(tls)}${more}`;
}

/** The name of the server is checked too. */
function transport({ name, ...files }: NonNullable<Target['tls']>): string {
  const { ca = '/etc/ssl/certs/ca-certificates.crt', certificate, privateKey } = files;
  const isAddress = isIP(name) !== 0;
  const own =
    certificate === undefined
      ? ''
      : `
            tls_certificates: [{ certificate_chain: { filename: ${quoted(certificate)} }, private_key: { filename: ${quoted(privateKey ?? '')} } }]`;
  return `
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          '@type': ${TYPE}.transport_sockets.tls.v3.UpstreamTlsContext${isAddress ? '' : `\n          sni: ${quoted(name)}`}
          common_tls_context:
            validation_context:
              trusted_ca: { filename: ${quoted(ca)} }
              match_typed_subject_alt_names: [{ san_type: ${isAddress ? 'IP_ADDRESS' : 'DNS'}, matcher: { exact: ${quoted(name)} } }]${own}`;
}

function secret(file: string): string {
  return `  secrets:
    - name: cambist_secret
      generic_secret: { secret: { filename: ${quoted(file)} } }
`;
}

/** @param filters run on each request to the cluster */
export function protocol(options: 'http_protocol_options' | 'http2_protocol_options', filters: string): string {
  return `
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          '@type': ${TYPE}.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { ${options}: {} }
          http_filters:${filters === '' ? '' : `\n${indent(12, filters)}`}
            - name: envoy.filters.http.upstream_codec
              typed_config: { '@type': ${TYPE}.filters.http.upstream_codec.v3.UpstreamCodec }`;
}

export const injectSecret = `- name: envoy.filters.http.credential_injector
  typed_config:
    '@type': ${TYPE}.filters.http.credential_injector.v3.CredentialInjector
    overwrite: true
    credential:
      name: envoy.http.injected_credentials.generic
      typed_config:
        '@type': ${TYPE}.http.injected_credentials.generic.v3.Generic
        credential: { name: cambist_secret }
        header: ${SECRET_HEADER}`;

/** A scalar of JSON is one of YAML. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}

export function indent(by: number, text: string): string {
  return text.replace(/^(?=.)/gm, ' '.repeat(by));
}
