import type { Target } from './protocol.ts';
import { fabricateToken, signToken } from './tokens.ts';

const BODY = JSON.stringify({
  jsonrpc: '2.0',
  id: 7,
  method: 'tools/call',
  params: { name: 'search_issues', arguments: { query: 'is:open label:bug', repository: 'acme/shop', limit: 20 } },
});

/** An endless sequence of requests. */
export interface Requests {
  readonly distinct: number;
  next(): Buffer;
}

const known = new Map<string, Requests>();

/** The requests of a target. Repeated calls return the same requests with the same tokens, so that the proxy finds them cached. */
export function requestsTo(target: Target): Requests {
  const key = JSON.stringify(target);
  const found = known.get(key) ?? createRequests(target);
  known.set(key, found);
  return found;
}

function createRequests(target: Target): Requests {
  const { paths, subjects } = target;
  let i = 0;
  if (subjects === 'fresh') {
    return {
      distinct: 1,
      next() {
        i += 1;
        return requestBytes(target, paths[i % paths.length] as string, `caller-${i}`);
      },
    };
  }
  const distinct = Math.max(paths.length, subjects);
  const prepared: Buffer[] = [];
  const tokens = Array.from({ length: subjects }, (_, n) => tokenOf(`caller-${n}`, target));
  for (let n = 0; n < distinct; n += 1) {
    const caller = n % subjects;
    prepared.push(requestBytes(target, paths[n % paths.length] as string, `caller-${caller}`, tokens[caller]));
  }
  return {
    distinct,
    next() {
      i = (i + 1) % distinct;
      return prepared[i] as Buffer;
    },
  };
}

function tokenOf(caller: string, { signedBy }: Target): string {
  return signedBy === undefined ? fabricateToken(caller, 'cambist') : signToken(caller, 'cambist', signedBy);
}

/** A tool call of an MCP client with a session. */
function requestBytes(target: Target, path: string, caller: string, token = fabricateToken(caller, 'cambist')): Buffer {
  const { decisionSecret } = target;
  // Envoy sends no body by default.
  const body = decisionSecret === undefined ? BODY : '';
  const lines = [
    `Host: ${target.tls?.host ?? `127.0.0.1:${target.port}`}`,
    'Connection: keep-alive',
    'Accept: application/json, text/event-stream',
    'Content-Type: application/json',
    `Authorization: Bearer ${token}`,
    `Mcp-Session-Id: session-of-${caller}`,
    'MCP-Protocol-Version: 2025-11-25',
    'Accept-Language: *',
    'User-Agent: node',
    'Accept-Encoding: gzip, deflate',
    ...(decisionSecret === undefined ? [] : [`X-Cambist-Decision-Secret: ${decisionSecret}`]),
    `Content-Length: ${body.length}`,
  ];
  const url = `${path}?${target.responseKind}`;
  return Buffer.from(`${[`POST ${url} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n${body}`, 'latin1');
}
