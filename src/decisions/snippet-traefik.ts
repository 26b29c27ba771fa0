import { SECRET_HEADER } from './report.ts';
import type { SnippetFacts, SnippetRoute, Target } from './snippet-facts.ts';
import { droppedOn, lines, onePerPath, rewrites, urlOf } from './snippet-parts.ts';

/** The static and the dynamic config of a Traefik with `forwardAuth`. */
export function traefik(facts: SnippetFacts): string {
  const routes = onePerPath(facts.routes);
  const { listen } = facts;
  return `# Traefik asks cambist about each request, and puts the issued token in place of the caller's. Needs Traefik 3.7 or later.
# file: traefik.yaml
entryPoints:
  agents:
    # With TLS: http.tls. Without forwardedHeaders.trustedIPs, clients cannot set X-Forwarded-* headers.
    address: ':8080'
    http:
      # A backend may read a header with an underscore as another header, and these escapes as a path outside of the route's.
      aliasHeadersStrategy: delete
      sanitizePath: true
      encodedCharacters:
        allowEncodedSlash: false
        allowEncodedBackSlash: false
        allowEncodedNullCharacter: false
        allowEncodedPercent: false
providers:
  file: { filename: /etc/traefik/cambist.yaml }
# file: cambist.yaml
http:
  routers:
    cambist-metadata:
      rule: 'PathPrefix(\`/.well-known/oauth-protected-resource\`)'
      priority: 10000
      service: cambist-metadata
${routes.map((route, at) => router(route, facts, 9999 - at)).join('')}  middlewares:
${before(facts)}${routes.map((route) => middlewares(route, facts)).join('')}  services:
    cambist-metadata:
      loadBalancer: { servers: [{ url: '${urlOf(listen)}' }]${listen.tls === undefined ? '' : ', serversTransport: cambist'} }
${routes.map(service).join('')}${transports(listen, routes)}`;
}

function router(route: SnippetRoute, facts: SnippetFacts, priority: number): string {
  const { name, host, path } = route;
  const paths = path === '/' ? 'PathPrefix(`/`)' : `(Path(\`${path}\`) || PathPrefix(\`${path}/\`))`;
  const hosts = host?.startsWith('*.')
    ? ` && HostRegexp(\`^[^.]+${host.slice(1).replaceAll('.', '\\.')}$\`)`
    : host && ` && Host(\`${host}\`)`;
  const steps = [`${name}-ask`, `${name}-drop`, ...rewrites(route, '').map((_, at) => `${name}-path-${at + 1}`)];
  return `    ${name}:
      rule: '${paths}${hosts ?? ''}'
      priority: ${priority}
      middlewares: [${[...(before(facts) === '' ? [] : ['cambist-before']), ...steps].join(', ')}]
      service: ${name}
`;
}

/** Headers that reach cambist as the operator sets them, and not as a client does. */
function before({ secretFile, forwardedHeader }: SnippetFacts): string {
  if (secretFile === undefined && forwardedHeader === undefined) return '';
  return `    cambist-before:
      headers:
        customRequestHeaders:
${lines(
  '          ',
  secretFile && `# Traefik's environment has the content of ${secretFile}.`,
  secretFile && `${SECRET_HEADER}: '{{ env "CAMBIST_DECISION_SECRET" }}'`,
  forwardedHeader && `${forwardedHeader}: ''`,
)}`;
}

function middlewares(route: SnippetRoute, { decisions }: SnippetFacts): string {
  const { name, named, credentialHeader } = route;
  const { ca, certificate, privateKey } = decisions.tls ?? {};
  const own = certificate === undefined ? '' : `, cert: ${certificate}, key: ${privateKey}`;
  const dropped = [SECRET_HEADER, ...droppedOn(route)].map((each) => `${each}: ''`);
  const paths = rewrites(route, '$1').map(
    ([regex, to], at) => `${name}-path-${at + 1}: { replacePathRegex: { regex: '${regex}', replacement: '${to}' } }`,
  );
  return `    ${name}-ask:
      forwardAuth:
        address: '${urlOf(decisions)}/forward-auth${named}'
        trustForwardHeader: false
        authResponseHeaders: [${credentialHeader ?? ''}]
        maxResponseBodySize: 65536
${lines('        ', ca && `tls: { ca: ${ca}${own} }`)}    ${name}-drop:
      headers:
        customRequestHeaders:
${lines('          ', ...dropped)}${lines('    ', ...paths)}`;
}

function service(route: SnippetRoute): string {
  const { name, tls, backend } = route;
  return `    ${name}:
      loadBalancer:
        servers: [{ url: '${urlOf(backend)}' }]
        # The backend gets its own name as Host.
        passHostHeader: false
        responseForwarding: { flushInterval: -1ms }
${lines('        ', tls && `serversTransport: ${name}`)}`;
}

/** The files with which Traefik trusts servers, and shows who it is. */
function transports(listen: Target, routes: readonly SnippetRoute[]): string {
  const each = routes.map(({ name, tls }) => transport(name, tls));
  const all = lines('    ', ...each, transport('cambist', listen.tls));
  return all === '' ? '' : `  serversTransports:\n${all}`;
}

function transport(name: string, files: Target['tls'] | SnippetRoute['tls']): string | undefined {
  const { ca, certificate, privateKey } = files ?? {};
  const parts = [
    ...(ca === undefined ? [] : [`rootCAs: [${ca}]`]),
    ...(certificate === undefined ? [] : [`certificates: [{ certFile: ${certificate}, keyFile: ${privateKey} }]`]),
  ];
  return files && `${name}: { ${parts.join(', ')} }`;
}
