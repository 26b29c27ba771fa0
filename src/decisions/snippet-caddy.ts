import { clientCertificateRule, type Listen } from '../config/addresses.ts';
import { SECRET_HEADER } from './report.ts';
import type { SnippetFacts, SnippetRoute } from './snippet-facts.ts';
import { addressOf, backendOf, droppedOn, nameOf, onePerPath, prefixOf, rewrites, schemeOf } from './snippet-parts.ts';

/** The Caddyfile of a Caddy that asks as `forward_auth` does. */
export function caddy(facts: SnippetFacts): string {
  const { listen } = facts;
  return `# Caddy asks cambist about each request, and puts the issued token in place of the caller's.
{
	# With TLS: a host name in place of :8080, and without this line.
	auto_https off
}

:8080 {
	route {
		# Has the metadata of protected resources.
		handle /.well-known/oauth-protected-resource* {
			reverse_proxy ${serverOf(listen)} {
				transport http {
					dial_timeout 2s
${trust(listen, 5)}				}
			}
		}
		# The backend may read these as a path outside of the route's.
		@outside vars_regexp {http.request.orig_uri} (?i)^[^?]*(?:%2f|%5c|\\\\|/(?:\\.|%2e){1,2}(?:[/;?]|%3b|$))
		respond @outside 400
${onePerPath(facts.routes)
  .map((route) => handle(route, facts))
  .join('')}
		respond 404
	}
	handle_errors {
		@undecided vars cambist asked
		header @undecided Retry-After 1
		respond @undecided "cambist does not respond" 503
	}
}
`;
}

function serverOf(listen: Listen): string {
  return listen.kind === 'unix' ? `unix/${listen.path}` : `${schemeOf(listen)}://${addressOf(listen)}`;
}

/** The files with which Caddy trusts a listener of cambist, and shows who it is. */
function trust(listen: Listen, depth: number): string {
  if (listen.kind === 'unix' || listen.tls === undefined) return '';
  const hasCertificate = clientCertificateRule(listen.tls) !== undefined;
  const lines = [
    'tls_trust_pool file /etc/caddy/cambist-ca.pem',
    `tls_server_name ${nameOf(listen)}`,
    ...(hasCertificate ? ['tls_client_auth /etc/caddy/client.pem /etc/caddy/client.key'] : []),
  ];
  return lines.map((line) => `${'\t'.repeat(depth)}${line}\n`).join('');
}

function handle(route: SnippetRoute, facts: SnippetFacts): string {
  const { name, host, path, credentialHeader: carrier } = route;
  const { decisions, secretFile, forwardedHeader, routesBy, timeoutSeconds } = facts;
  const dropped = droppedOn(route).filter((each) => !each.includes('_'));
  const isOwn = path === '/' ? '^/' : `${prefixOf(route)}(?:[/?]|$)`;
  return `
		@${name} {
${host === undefined ? '' : `			host ${host}\n`}			vars_regexp {http.request.orig_uri} ${path === '/' ? isOwn : `^${isOwn}`}
		}
		handle @${name} {
			route {
				vars cambist asked
				reverse_proxy ${serverOf(decisions)} {
					method GET
					rewrite ${routesBy === 'name' ? `/forward-auth/${name}` : '/forward-auth'}
					header_up X-Forwarded-Method {http.request.method}
					header_up X-Forwarded-Uri {http.request.orig_uri}
${secretFile === undefined ? '' : `					header_up ${SECRET_HEADER} {file.${secretFile}}\n`}${forwardedHeader === undefined ? '' : `					header_up -${forwardedHeader}\n`}					transport http {
						dial_timeout 2s
						response_header_timeout ${timeoutSeconds}s
${trust(decisions, 6)}					}
					@allowed status 200
					handle_response @allowed {
						route {
							vars cambist allowed
							# A backend may read a header with an underscore as another header.
							request_header -*_*
${dropped.map((each) => `							request_header -${each}\n`).join('')}${carrier === undefined ? '' : credential(carrier)}						}
					}
				}
${rewrites(route, '$1')
  .map(([pattern, replacement]) => `				uri path_regexp ${pattern} ${replacement}\n`)
  .join('')}				reverse_proxy ${backend(route)}
			}
		}
`;
}

function credential(carrier: string): string {
  const value = `{http.reverse_proxy.header.${canonical(carrier)}}`;
  return `							request_header -${carrier}
							@credential not vars ${value} ""
							request_header @credential ${carrier} ${value}
`;
}

/** The spelling in which Go knows a header, and Caddy its placeholder. */
function canonical(name: string): string {
  return name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase());
}

function backend(route: SnippetRoute): string {
  const { upstream, tls } = route;
  const { secure, hostname, address } = backendOf(route);
  const server =
    upstream.socketPath === undefined ? `${secure ? 'https' : 'http'}://${address}` : `unix/${upstream.socketPath}`;
  const lines = [
    ...(secure ? [`tls_server_name ${hostname}`] : []),
    ...(tls?.ca === undefined ? [] : [`tls_trust_pool file ${tls.ca}`]),
    ...(tls?.certificate === undefined ? [] : [`tls_client_auth ${tls.certificate} ${tls.privateKey}`]),
  ];
  return `${server} {
					header_up Host ${upstream.host}
					# Event streams.
					flush_interval -1
					transport http {
						dial_timeout 5s
${lines.map((line) => `						${line}\n`).join('')}					}
				}`;
}
