import * as z from 'zod';
import { type Reading, valueOrReport } from '../documents/config-node.ts';
import { hasDotSegments } from '../request-paths.ts';
import { section, valueKey } from './key.ts';
import { distinct, nonEmptyText, patterns } from './kinds.ts';

const LABEL = '[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?';
const NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);
const MAX_NAME_LENGTH = 253;

/** Reads `match.host` in lower case: an exact name, an IP address (IPv6 in brackets), or `*.suffix`. */
export function readHostPattern(text: string): Reading<string> {
  const host = text.toLowerCase().replace(/\.$/, '');
  if (host.includes('/')) return { problem: 'must be only a host: remove the scheme and the path' };
  if (host.startsWith('[')) return readIpv6(host);
  if (/^[^:]*:\d*$/.test(host)) return { problem: 'must not contain a port: the port of a request is ignored' };
  const name = host.startsWith('*.') ? host.slice(2) : host;
  if (name.includes('*')) {
    return { problem: '"*" must be the first label, as in *.tools.svc; to match any host, remove the key' };
  }
  if (name.length > MAX_NAME_LENGTH || !NAME.test(name)) {
    return {
      problem: 'must be a host name, as in github-mcp.tools.svc or *.tools.svc, or an IP address, IPv6 in brackets',
    };
  }
  return { value: host };
}

function readIpv6(host: string): Reading<string> {
  if (host.includes(']:')) return { problem: 'must not contain a port: the port of a request is ignored' };
  if (!/^\[[0-9a-f:.]+\]$/.test(host) || !URL.canParse(`http://${host}`)) {
    return { problem: 'must be an IPv6 address in brackets, as in [::1]' };
  }
  return { value: new URL(`http://${host}`).hostname };
}

/** Reads an entry of `forward_proxy.connect`: a port, and an exact host, `*.suffix`, or `*` for any public name. */
export function readConnectAuthority(text: string): Reading<string> {
  const [, name = '', digits = ''] = /^(.*):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (name === '' || port < 1 || port > 65_535) return { problem: 'must be host:port, as in api.example.com:443' };
  if (name === '*') return { value: `*:${port}` };
  const host = readHostPattern(name);
  if ('problem' in host) return host;
  return { value: `${host.value}:${port}` };
}

/** Reads an entry of `interaction.hosts`: an exact host, with a port unless it is 443. */
export function readInteractionHost(text: string): Reading<string> {
  const [, name = '', digits = '443'] = /^(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(text) ?? [];
  const authority = readConnectAuthority(`${name}:${digits}`);
  return 'value' in authority
    ? { value: authority.value.replace(/:443$/, '') }
    : { problem: 'must be a host or host:port, as in example.okta.com, without a scheme and without "*"' };
}

const PATH_CHARACTERS = /^(?:[A-Za-z0-9\-._~:/@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*$/;

/** Reads `match.path`: a prefix of whole segments, without a trailing slash. */
export function readPathPrefix(text: string): Reading<string> {
  if (!text.startsWith('/')) return { problem: 'must start with "/"' };
  if (/[?#]/.test(text)) return { problem: 'must be only a path: remove "?" or "#" and everything after it' };
  if (/%2f|%5c|\\/i.test(text))
    return {
      problem: 'must not contain an encoded slash or a backslash, because servers read them differently: use "/"',
    };
  if (hasDotSegments(text)) return { problem: 'must not contain "." or ".." as a segment: write the resulting path' };
  if (text.includes('//')) return { problem: 'must not contain an empty segment: replace "//" by "/"' };
  if (!PATH_CHARACTERS.test(text))
    return { problem: 'contains a character that is not allowed in a path: percent-encode it' };
  return { value: text === '/' ? text : text.replace(/\/$/, '') };
}

export interface Match {
  /** Lower-case. `*.suffix` matches one or more labels. Undefined: any host. */
  readonly host: string | undefined;
  /** Prefix of whole segments, without a trailing slash. `/` matches all. */
  readonly path: string;
  /** Further conditions. Undefined: all requests with this host and path match. */
  readonly conditions: Conditions | undefined;
}

/** Conditions beside host and path. At least one is set. A pattern is exact, or a prefix followed by `*`. */
export interface Conditions {
  /** Upper-case HTTP methods. */
  readonly methods: readonly string[] | undefined;
  /** Patterns of the JSON-RPC method in the body. */
  readonly mcpMethods: readonly string[] | undefined;
  /** Patterns of the tool, prompt, resource or task that the message is about. */
  readonly mcpNames: readonly string[] | undefined;
}

/** Does a match depend on the message in the body? */
export function readsMessage({ conditions }: Match): boolean {
  return conditions?.mcpMethods !== undefined || conditions?.mcpNames !== undefined;
}

/** The HTTP methods that a route may require: those of MCP, REST and browsers first, then the others that Node parses. */
const HTTP_METHODS = [
  ...['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'],
  ...['ACL', 'BIND', 'CHECKOUT', 'COPY', 'LINK', 'LOCK', 'M-SEARCH', 'MERGE', 'MKACTIVITY', 'MKCALENDAR', 'MKCOL'],
  ...['MOVE', 'NOTIFY', 'PROPFIND', 'PROPPATCH', 'PURGE', 'REBIND', 'REPORT', 'SEARCH', 'SOURCE', 'SUBSCRIBE'],
  ...['UNBIND', 'UNLINK', 'UNLOCK', 'UNSUBSCRIBE'],
] as const;

export const match = section(
  'Requests for this route: a host, a path, or both, and further conditions.',
  {
    host: valueKey(
      nonEmptyText,
      'host',
      'Host of the request, without port: an exact name, or `*.suffix` for any name that ends in `.suffix`. Case is ignored.',
      { examples: ['github-mcp.tools.svc', '*.tools.svc'], without: 'any' },
      (written: string, node) => valueOrReport(readHostPattern(written), node),
    ),
    path: valueKey(
      nonEmptyText,
      'path',
      'Prefix of the path, in whole segments: `/mcp` matches `/mcp` and `/mcp/x`, not `/mcpx`. `*` is not a wildcard. By default, any path.',
      { examples: ['/mcp'], without: '`/`' },
      (written: string, node) => {
        const path = valueOrReport(readPathPrefix(written), node);
        if (path?.includes('*')) {
          node.warn(
            'contains "*", which is not a wildcard here: a path is a prefix, so remove "*" to match everything below it',
          );
        }
        return path;
      },
    ),
    methods: valueKey(
      z.array(z.enum(HTTP_METHODS)).min(1),
      'list of HTTP methods',
      'HTTP methods in upper case, such as `GET`. By default, all except CONNECT and TRACE.',
      { examples: [['GET', 'HEAD']], without: 'all', page: 'routing.md#http-methods' },
      distinct,
    ),
    mcp_method: patterns('JSON-RPC method of the message in the body: an exact name, or a prefix followed by `*`.', {
      examples: ['tools/call'],
      without: 'any',
    }),
    mcp_name: patterns('Tool, prompt, resource or task of the message: an exact name, or a prefix followed by `*`.', {
      examples: [['delete_repo', 'write_*']],
      without: 'any',
      page: 'routing.md#a-token-for-each-tool',
    }),
  },
  {
    finish({ host, path = '/', methods, mcpMethod, mcpName }, { node }, written): Match | undefined {
      if (written.host === undefined && written.path === undefined) {
        if (!node.broken) node.error('needs a host or a path: write path: / to match all requests');
        return undefined;
      }
      const conditions = { methods, mcpMethods: mcpMethod, mcpNames: mcpName };
      const found = { host, path, conditions };
      if (readsMessage(found) && methods !== undefined && !methods.includes('POST') && !node.at('methods').broken) {
        node.at('methods').error('lacks POST, the only method with a message: add POST, or remove the key');
      }
      if (node.broken) return undefined;
      return readsMessage(found) || methods !== undefined ? found : { host, path, conditions: undefined };
    },
  },
);

/**
 * Lists the combinations of host, path and conditions that a route matches. Two routes with a common combination would tie for
 * a request. Of two different combinations that match a request, one is always more specific.
 */
export function* combinationsOf({ host, path, conditions }: Match): Generator<string> {
  for (const name of conditions?.mcpNames ?? [null]) {
    for (const mcpMethod of conditions?.mcpMethods ?? [null]) {
      for (const method of conditions?.methods ?? [null]) {
        yield JSON.stringify([host ?? null, path, name, mcpMethod, method]);
      }
    }
  }
}

export function countCombinations({ conditions: { mcpNames, mcpMethods, methods } = {} as Conditions }: Match): number {
  return (mcpNames?.length ?? 1) * (mcpMethods?.length ?? 1) * (methods?.length ?? 1);
}

/** @param host may itself be a pattern, whose hosts the other one then contains */
export function hostMatches(pattern: string, host: string | undefined): boolean {
  if (host === undefined) return false;
  if (!pattern.startsWith('*.')) return host === pattern;
  return host.length > pattern.length - 1 && host.endsWith(pattern.slice(1));
}

export function pathMatches(prefix: string, path: string): boolean {
  return prefix === '/' || path === prefix || path.startsWith(`${prefix}/`);
}
