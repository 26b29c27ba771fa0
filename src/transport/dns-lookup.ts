import { type LookupAddress, promises } from 'node:dns';
import { readFileSync } from 'node:fs';
import type { LookupFunction } from 'node:net';
import { isLoopback } from '../host-names.ts';

/** The rules by which names are resolved, as resolv.conf(5) has them. */
interface ResolverConfig {
  readonly search: readonly string[];
  /** A name with at least this many dots is tried as it is first. */
  readonly ndots: number;
}

interface Resolver {
  resolve4(name: string): Promise<string[]>;
  resolve6(name: string): Promise<string[]>;
}

const MAX_SEARCH_DOMAINS = 32;
const MAX_NDOTS = 15;

/** The connect timeout of a route ends the wait earlier. */
const QUERY = { timeout: 2000, tries: 3 };

/** The name does not exist, or has no address of this kind: other names are tried. Any other error ends the search. */
const ABSENT: ReadonlySet<string> = new Set(['ENOTFOUND', 'ENODATA']);

/**
 * Resolves names by DNS alone: `/etc/hosts` may point them at cambist itself. Unlike Node's resolver, it applies search domains.
 */
export function createDnsLookup(
  config: ResolverConfig = readResolverConfig(),
  resolver: Resolver = new promises.Resolver(QUERY),
): LookupFunction {
  return (hostname, options, callback) => {
    resolveName(hostname, config, resolver).then(
      (found) => {
        const { family, all } = options;
        const wanted = family === 4 || family === 6 ? found.filter((each) => each.family === family) : found;
        const [first] = wanted;
        if (first === undefined) callback(notFound(hostname), '', 0);
        else if (all === true) callback(null, wanted);
        else callback(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, '', 0),
    );
  };
}

/** @returns IPv4 addresses first, at least one */
async function resolveName(hostname: string, config: ResolverConfig, resolver: Resolver): Promise<LookupAddress[]> {
  if (isLoopback(hostname)) {
    return [
      { address: '127.0.0.1', family: 4 },
      { address: '::1', family: 6 },
    ];
  }
  for (const name of searchedNames(hostname, config)) {
    const found = await addressesOf(name, resolver);
    if (found.length > 0) return found;
  }
  throw notFound(hostname);
}

/** @throws {Error} where the name may have addresses that could not be found */
async function addressesOf(name: string, resolver: Resolver): Promise<LookupAddress[]> {
  const [four, six] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
  const found = [...addresses(four, 4), ...addresses(six, 6)];
  if (found.length > 0) return found;
  for (const result of [four, six]) {
    if (result.status === 'rejected' && !ABSENT.has(result.reason?.code)) throw noResponse(name, result.reason);
  }
  return [];
}

function addresses(result: PromiseSettledResult<string[]>, family: 4 | 6): LookupAddress[] {
  return result.status === 'fulfilled' ? result.value.map((address) => ({ address, family })) : [];
}

/** The names to try, in order. @see resolv.conf(5), `search` and `ndots` */
export function searchedNames(hostname: string, { search, ndots }: ResolverConfig): string[] {
  if (hostname.endsWith('.')) return [hostname.slice(0, -1)];
  const searched = search.map((domain) => `${hostname}.${domain}`);
  const dots = hostname.split('.').length - 1;
  return dots >= ndots ? [hostname, ...searched] : [...searched, hostname];
}

/** Reads search domains and `ndots`. Node's resolver reads the name servers itself. */
function readResolverConfig(): ResolverConfig {
  let text = '';
  try {
    text = readFileSync('/etc/resolv.conf', 'utf8');
  } catch {
    // A machine without the file has no search domains.
  }
  return parseResolverConfig(text);
}

export function parseResolverConfig(text: string): ResolverConfig {
  let search: string[] = [];
  let ndots = 1;
  for (const line of text.split('\n')) {
    const [key, ...values] = line.trim().split(/\s+/);
    // The last one of these lines wins.
    if (key === 'search') search = values;
    else if (key === 'domain') search = values.slice(0, 1);
    else if (key === 'options') {
      const [, written] = values.map((value) => /^ndots:(\d{1,3})$/.exec(value)).find((found) => found !== null) ?? [];
      if (written !== undefined) ndots = Math.min(Number(written), MAX_NDOTS);
    }
  }
  const domains = search.map((domain) => domain.replace(/\.$/, '')).filter((domain) => domain !== '');
  return { search: domains.slice(0, MAX_SEARCH_DOMAINS), ndots };
}

function notFound(hostname: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`DNS has no address of ${hostname}`), { code: 'ENOTFOUND' });
}

/** The code is that of the system's resolver. The one of DNS, such as ECONNREFUSED, would look as if the peer had refused. */
function noResponse(name: string, cause: unknown): NodeJS.ErrnoException {
  return Object.assign(new Error(`DNS did not respond for ${name}`, { cause }), { code: 'EAI_AGAIN' });
}
