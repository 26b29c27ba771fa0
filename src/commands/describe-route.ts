import { isLoopback } from '../config/addresses.ts';
import type { Config } from '../config/config.ts';
import type { Match } from '../config/match.ts';
import type { Credential, Route } from '../config/route.ts';
import type { ExpectedAudience } from '../config/targets.ts';

/** Most routes that the log describes. Container runtimes split lines of more than 16 KiB. */
const MAX_DESCRIBED = 50;

/**
 * Describes the first routes of a config.
 * @param listen the proxy's address, as in `http://127.0.0.1:8180` or `unix:/path`
 */
export function describeRoutes({ routes, intercept }: Pick<Config, 'routes' | 'intercept'>, listen: string): string[] {
  const scheme = intercept === undefined ? 'http' : 'https';
  const described = routes.slice(0, MAX_DESCRIBED).map((route) => describeRoute(route, listen, scheme));
  const others = routes.length - described.length;
  return others === 0 ? described : [...described, `and ${others} more: see the status page`];
}

/** A route in one line: its name, the URL that the agent calls, the upstream, and the token that the upstream gets. */
function describeRoute({ name, match, upstream, credential }: Route, listen: string, scheme: string): string {
  const conditions = describeConditions(match);
  const to = `${upstream.origin}${upstream.path} (${describeToken(credential)})`;
  return `${name}: ${agentUrl(match, listen, scheme)}${conditions} → ${to}`;
}

/** A host that is not on this machine is that of the backend: the agent uses cambist as its proxy. */
function agentUrl({ host, path }: Match, listen: string, scheme: string): string {
  const isOwn = host === undefined || isLoopback(host);
  return isOwn ? `${listen}${path}` : `${scheme}://${host}${path}`;
}

function describeConditions({ conditions }: Match): string {
  const { methods, mcpMethods, mcpNames } = conditions ?? {};
  const parts = [methods, mcpMethods, mcpNames].filter((part) => part !== undefined);
  return parts.length === 0 ? '' : ` [${parts.map((part) => part.join(' ')).join(', ')}]`;
}

function describeToken(credential: Credential): string {
  switch (credential.kind) {
    case 'secret':
      return 'a secret';
    case 'passthrough':
      return "the caller's own token";
    case 'none':
      return 'no token';
    case 'client_credentials':
      return `cambist's own token, ${describeAudience(credential.target.expectAudience)}`;
    case 'exchange':
      return describeAudience(credential.target.expectAudience);
  }
}

function describeAudience(expected: ExpectedAudience): string {
  if (expected === 'any') return 'aud not checked';
  const names = 'only' in expected ? expected.only : expected;
  return `aud ${names.join(' or ')}`;
}
