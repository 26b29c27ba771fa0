import type { Reading } from './config-node.ts';
import { hasDotSegments } from './urls.ts';

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
