import type { SnippetFacts, SnippetRoute, Target } from './snippet-facts.ts';
import { addressOf, carriersOf, droppedOn, lines, onePerPath, prefixOf, rewrites, schemeOf } from './snippet-parts.ts';

/** The config of nginx with `auth_request`. */
export function nginx(facts: SnippetFacts): string {
  const { decisions, listen, routes } = facts;
  const hosts = new Set([undefined, ...routes.map(({ host }) => host)]);
  return `# nginx asks cambist about each request, and puts the issued token in place of the caller's.
${decisions.socketPath !== undefined ? "# Workers need the group of cambist's Unix socket, as in: user www-data cambist;\n" : ''}worker_processes auto;
events {}

http {
${upstream('cambist', decisions)}  # Has the metadata of protected resources.
${upstream('cambist_listen', listen)}${routes.map(({ name, backend }) => upstream(`backend_${name}`, backend)).join('')}
  map $http_upgrade $connection_upgrade {
    default upgrade;
    '' '';
  }
  # Tokens are large headers.
  large_client_header_buffers 8 32k;
  # A backend may read a header with an underscore as another header: drop it.
  underscores_in_headers off;
  ignore_invalid_headers on;
${[...hosts].map((host) => server(facts, host)).join('')}}
`;
}

function upstream(name: string, target: Target): string {
  return `  upstream ${name} {
    server ${target.socketPath === undefined ? addressOf(target) : `unix:${target.socketPath}`};
    keepalive 32;
  }
`;
}

function server(facts: SnippetFacts, host: string | undefined): string {
  const { decisions, listen, secretFile, forwardedHeader, routesBy, timeoutSeconds } = facts;
  const routes = onePerPath(facts.routes.filter((route) => isServed(route, host)).map((route) => ({ ...route, host })));
  const credentials = carriersOf(routes).map(
    (name) => `auth_request_set ${credentialIn(name)} $upstream_http_${underscored(name)};`,
  );
  const question = routesBy === 'name' ? '/auth-request/$cambist_route' : '/auth-request';
  return `
  server {
    # With TLS: listen 443 ssl, ssl_certificate, ssl_certificate_key.
    listen 8080${host === undefined ? ' default_server' : ''};
    server_name ${host ?? '_'};
    client_max_body_size 16m;

    # Without a decision, no request passes.
    auth_request /.cambist;
    auth_request_set $cambist_error $upstream_http_x_cambist_error;
    auth_request_set $cambist_status $upstream_http_x_cambist_status;
    auth_request_set $cambist_retry_after $upstream_http_retry_after;
    auth_request_set $cambist_request_id $upstream_http_x_request_id;
${lines('    ', ...credentials)}
    location = /.cambist {
      internal;
      proxy_pass ${schemeOf(decisions)}://cambist${question};
${trust(decisions)}      proxy_http_version 1.1;
      proxy_pass_request_body off;
      proxy_set_header Connection "";
      proxy_set_header Content-Length "";
      proxy_set_header Host cambist;
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Original-URI $request_uri;
      proxy_set_header X-Original-Host $host:$server_port;
      proxy_set_header X-Forwarded-Proto $scheme;
${lines(
  '      ',
  forwardedHeader && `proxy_set_header ${forwardedHeader} "";`,
  secretFile && `# One line: proxy_set_header X-Cambist-Decision-Secret "…"; with the content of ${secretFile}`,
  secretFile && `include /etc/nginx/cambist-secret.conf;`,
)}      proxy_connect_timeout 2s;
      proxy_read_timeout ${timeoutSeconds}s;
      # The response has the issued token, for this request alone.
      proxy_buffer_size 32k;
      proxy_buffers 8 32k;
      proxy_cache off;
      proxy_store off;
    }

    # nginx drops the body of a refusal. The caller gets its code.
    error_page 401 = @cambist_401;
    error_page 403 = @cambist_403;
    error_page 500 = @cambist_down;
    location @cambist_401 {
      default_type application/problem+json;
      return 401 ${problem(401)};
    }
    location @cambist_403 {
      default_type application/problem+json;
      add_header Retry-After $cambist_retry_after always;
      # The caller may try again.
      if ($cambist_status ~ "^(429|5..)$") {
        return 503 ${problem(503)};
      }
      return 403 ${problem(403)};
    }
    location @cambist_down {
      default_type application/problem+json;
      add_header Retry-After 1 always;
      return 503 '{"title":"No decision","status":503,"detail":"cambist does not respond."}';
    }

    location ^~ /.well-known/oauth-protected-resource {
      auth_request off;
      proxy_pass ${schemeOf(listen)}://cambist_listen;
${trust(listen)}      proxy_set_header Host $host:$server_port;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
${routes.map(location).join('')}
    location / {
      return 404;
    }
  }
`;
}

/** Is a route for requests to this host? The one of nginx that no name fits is undefined. */
function isServed({ host: own }: SnippetRoute, host: string | undefined): boolean {
  return own === undefined || own === host || (own.startsWith('*.') && host?.endsWith(own.slice(1)) === true);
}

function problem(status: number): string {
  return `'{"type":"urn:cambist:error:$cambist_error","title":"Refused by cambist","status":${status},"detail":"$cambist_error","code":"$cambist_error","request_id":"$cambist_request_id"}'`;
}

/** The files with which nginx trusts a server, and shows who it is. */
function trust({ tls }: Target): string {
  if (tls === undefined) return '';
  return lines(
    '      ',
    'proxy_ssl_verify on;',
    'proxy_ssl_verify_depth 4;',
    'proxy_ssl_server_name on;',
    `proxy_ssl_name ${tls.name};`,
    `proxy_ssl_trusted_certificate ${tls.ca ?? '/etc/ssl/certs/ca-certificates.crt'};`,
    tls.certificate && `proxy_ssl_certificate ${tls.certificate};`,
    tls.certificate && `proxy_ssl_certificate_key ${tls.privateKey};`,
  );
}

function location(route: SnippetRoute): string {
  const { name, upstream: to, backend, credentialHeader } = route;
  const dropped = droppedOn(route).map((each) => `proxy_set_header ${each} "";`);
  const credential = credentialHeader && `proxy_set_header ${credentialHeader} ${credentialIn(credentialHeader)};`;
  return `
    location ~ "^${prefixOf(route)}(?:/|\\z)" {
      set $cambist_route ${name};
${rewriteLines(route)}      break;
      proxy_pass ${schemeOf(backend)}://backend_${name};
${trust(backend)}      proxy_http_version 1.1;
${lines('      ', credential, ...dropped)}      proxy_set_header Host ${to.host};
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $host:$server_port;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $cambist_request_id;
      # Event streams and WebSockets.
      proxy_buffering off;
      proxy_read_timeout 1h;
    }
`;
}

/** One rule at least: without any, nginx would forward the path as the client wrote it. */
function rewriteLines(route: SnippetRoute): string {
  const rules = rewrites(route, '$1');
  const all = rules.length > 0 ? rules : [['^(/.*)$', '$1'] as const];
  return lines('      ', ...all.map(([from, to]) => `rewrite "(?s)${from.replace(/\$$/, '\\z')}" "${to}";`));
}

function underscored(name: string): string {
  return name.replaceAll('-', '_');
}

function credentialIn(name: string): string {
  return `$cambist_credential_${underscored(name)}`;
}
