import { SECRET_HEADER } from './report.ts';
import type { SnippetFacts, SnippetRoute, Target } from './snippet-facts.ts';
import { droppedOn, lines, onePerPath, prefixOf, rewrites, urlOf } from './snippet-parts.ts';

/** The Caddyfile of a Caddy that asks as `forward_auth` does. */
export function caddy(facts: SnippetFacts): string {
  return `# Caddy asks cambist about each request, and puts the issued token in place of the caller's.
{
	# With TLS: a host name in place of :8080, and without this line.
	auto_https off
}

:8080 {
	route {
		# Has the metadata of protected resources.
		handle /.well-known/oauth-protected-resource* {
			reverse_proxy ${serverOf(facts.listen)} {
				transport http {
					dial_timeout 2s
${trust(facts.listen, 5)}				}
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

function serverOf(target: Target): string {
  return target.socketPath === undefined ? urlOf(target) : `unix/${target.socketPath}`;
}

/** The files with which Caddy trusts a server, and shows who it is. */
function trust({ tls }: Target, depth: number): string {
  return lines(
    '\t'.repeat(depth),
    tls && `tls_server_name ${tls.name}`,
    tls?.ca && `tls_trust_pool file ${tls.ca}`,
    tls?.certificate && `tls_client_auth ${tls.certificate} ${tls.privateKey}`,
  );
}

function handle(route: SnippetRoute, facts: SnippetFacts): string {
  const { name, named, host, path, credentialHeader: carrier, backend } = route;
  const { decisions, secretFile, forwardedHeader, timeoutSeconds } = facts;
  const removals = droppedOn(route).map((each) => `request_header -${each}`);
  const uris = rewrites(route, '$1').map((rule) => `uri path_regexp ${rule.join(' ')}`);
  const isOwn = path === '/' ? '^/' : `${prefixOf(route)}(?:[/?]|$)`;
  return `
		@${name} {
${lines('\t\t\t', host && `host ${host}`)}			vars_regexp {http.request.orig_uri} ${path === '/' ? isOwn : `^${isOwn}`}
		}
		handle @${name} {
			route {
				vars cambist asked
				reverse_proxy ${serverOf(decisions)} {
					method GET
					rewrite /forward-auth${named}
					header_up X-Forwarded-Method {http.request.method}
					header_up X-Forwarded-Uri {http.request.orig_uri}
${lines(
  '\t\t\t\t\t',
  secretFile && `header_up ${SECRET_HEADER} {file.${secretFile}}`,
  forwardedHeader && `header_up -${forwardedHeader}`,
)}					transport http {
						dial_timeout 2s
						response_header_timeout ${timeoutSeconds}s
${trust(decisions, 6)}					}
					@allowed status 200
					handle_response @allowed {
						route {
							vars cambist allowed
							# A backend may read a header with an underscore as another header.
							request_header -*_*
${lines('\t\t\t\t\t\t\t', ...removals, ...credential(carrier))}						}
					}
				}
${lines('\t\t\t\t', ...uris)}				reverse_proxy ${serverOf(backend)} {
					header_up Host ${route.upstream.host}
					# Event streams.
					flush_interval -1
					transport http {
						dial_timeout 5s
${trust(backend, 6)}					}
				}
			}
		}
`;
}

function credential(carrier: string | undefined): string[] {
  if (carrier === undefined) return [];
  const value = `{http.reverse_proxy.header.${canonical(carrier)}}`;
  return [
    `request_header -${carrier}`,
    `@credential not vars ${value} ""`,
    `request_header @credential ${carrier} ${value}`,
  ];
}

/** The spelling in which Go knows a header, and Caddy its placeholder. */
function canonical(name: string): string {
  return name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase());
}
