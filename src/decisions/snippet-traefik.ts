import { clientCertificateRule, type Listen } from '../config/addresses.ts';
import { SECRET_HEADER } from './report.ts';
import type { SnippetFacts, SnippetRoute } from './snippet-facts.ts';
import { addressOf, backendOf, droppedOn, onePerPath, rewrites, schemeOf } from './snippet-parts.ts';

/** The static and the dynamic config of a Traefik with `forwardAuth`. */
export function traefik(facts: SnippetFacts): string {
  const routes = onePerPath(facts.routes);
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
      loadBalancer: { servers: [{ url: '${urlOf(facts.listen)}' }]${facts.listen.kind === 'tcp' && facts.listen.tls !== undefined ? ', serversTransport: cambist' : ''} }
${routes.map(service).join('')}${transports(facts, routes)}`;
}

function urlOf(listen: Listen): string {
  return listen.kind === 'unix' ? 'http://127.0.0.1:8183' : `${schemeOf(listen)}://${addressOf(listen)}`;
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
  const secret = `          # Traefik's environment has the content of ${secretFile}.
          ${SECRET_HEADER}: '{{ env "CAMBIST_DECISION_SECRET" }}'
`;
  return `    cambist-before:
      headers:
        customRequestHeaders:
${secretFile === undefined ? '' : secret}${forwardedHeader === undefined ? '' : `          ${forwardedHeader}: ''\n`}`;
}

function middlewares(route: SnippetRoute, { decisions, routesBy }: SnippetFacts): string {
  const { name, credentialHeader } = route;
  const question = routesBy === 'name' ? `/forward-auth/${name}` : '/forward-auth';
  const dropped = [SECRET_HEADER, ...droppedOn(route)];
  return `    ${name}-ask:
      forwardAuth:
        address: '${urlOf(decisions)}${question}'
        trustForwardHeader: false
        authResponseHeaders: [${credentialHeader ?? ''}]
        maxResponseBodySize: 65536
${trust(decisions)}    ${name}-drop:
      headers:
        customRequestHeaders:
${dropped.map((each) => `          ${each}: ''\n`).join('')}${rewrites(route, '$1')
  .map(
    ([pattern, replacement], at) =>
      `    ${name}-path-${at + 1}: { replacePathRegex: { regex: '${pattern}', replacement: '${replacement}' } }\n`,
  )
  .join('')}`;
}

/** The files with which Traefik trusts the listener of decisions, and shows who it is. */
function trust(listen: Listen): string {
  if (listen.kind === 'unix' || listen.tls === undefined) return '';
  const own = ', cert: /etc/traefik/client.pem, key: /etc/traefik/client.key';
  const hasCertificate = clientCertificateRule(listen.tls) !== undefined;
  return `        tls: { ca: /etc/traefik/cambist-ca.pem${hasCertificate ? own : ''} }\n`;
}

function service(route: SnippetRoute): string {
  const { name, tls } = route;
  const { secure, address } = backendOf(route);
  return `    ${name}:
      loadBalancer:
        servers: [{ url: '${secure ? 'https' : 'http'}://${address}' }]
        # The backend gets its own name as Host.
        passHostHeader: false
        responseForwarding: { flushInterval: -1ms }
${tls === undefined ? '' : `        serversTransport: ${name}\n`}`;
}

function transports({ listen }: SnippetFacts, routes: readonly SnippetRoute[]): string {
  const own = routes.flatMap(({ name, tls }) => {
    if (tls === undefined) return [];
    const ca = tls.ca === undefined ? '' : `rootCAs: [${tls.ca}]`;
    const pair =
      tls.certificate === undefined
        ? ''
        : `certificates: [{ certFile: ${tls.certificate}, keyFile: ${tls.privateKey} }]`;
    return [`    ${name}: { ${[ca, pair].filter((part) => part !== '').join(', ')} }\n`];
  });
  if (listen.kind === 'tcp' && listen.tls !== undefined) {
    const pair =
      clientCertificateRule(listen.tls) === undefined
        ? ''
        : ', certificates: [{ certFile: /etc/traefik/client.pem, keyFile: /etc/traefik/client.key }]';
    own.push(`    cambist: { rootCAs: [/etc/traefik/cambist-ca.pem]${pair} }\n`);
  }
  return own.length === 0 ? '' : `  serversTransports:\n${own.join('')}`;
}
