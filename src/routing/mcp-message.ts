import type { McpMessage } from './request-facts.ts';

/** A message as far as routes need it, or why it cannot be one. */
export type MessageReading = { readonly message: McpMessage } | { readonly wrong: string };

/** Which field of `params` names what a request is about: the one that `Mcp-Name` repeats. */
const NAME_FIELDS: ReadonlyMap<string, string> = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
  ['tasks/get', 'taskId'],
  ['tasks/update', 'taskId'],
  ['tasks/cancel', 'taskId'],
]);

/**
 * Reads the one JSON-RPC message of a body. Whatever a backend might read otherwise is refused, since then the route would
 * be chosen for one thing and the backend do another: another character set, keys that come twice, or in another case.
 */
export function readMcpMessage(body: Uint8Array): MessageReading {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
    value = JSON.parse(text);
  } catch {
    return { wrong: 'its body is no JSON in UTF-8' };
  }
  if (Array.isArray(value)) return { wrong: 'its body is a batch, whose messages may belong to different routes' };
  if (!isMap(value)) return { wrong: 'its body is no JSON-RPC message' };
  if (hasAmbiguousKeys(text))
    return { wrong: 'its body has a key twice, or in another case than the protocol writes it' };
  const { method, params } = value;
  if (method === undefined) return { message: { method: undefined, name: undefined } };
  if (typeof method !== 'string') return { wrong: 'the method of its message is no string' };
  const field = NAME_FIELDS.get(method);
  const name = field !== undefined && isMap(params) ? params[field] : undefined;
  if (name !== undefined && typeof name !== 'string') return { wrong: `the "${field}" of its message is no string` };
  return { message: { method, name } };
}

/**
 * Holds `Mcp-Method` and `Mcp-Name` to the message: a gateway before or a backend behind may believe them.
 * @param methods every line of `Mcp-Method`
 * @param names every line of `Mcp-Name`
 * @returns what disagrees
 */
export function headerDisagreement(
  message: McpMessage | undefined,
  methods: readonly string[],
  names: readonly string[],
): string | undefined {
  if (methods.length > 1 || names.length > 1) return 'Mcp-Method or Mcp-Name came more than once';
  const [method] = methods;
  if (method !== undefined && method.trim() !== message?.method) return 'Mcp-Method is not the method of the message';
  const [name] = names;
  if (name !== undefined && decodeName(name.trim()) !== message?.name) return 'Mcp-Name is not the name in the message';
  return undefined;
}

const BASE64 = /^=\?base64\?((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)\?=$/;

/** The text of a header value in plain, or as the 2026-07-28 revision of MCP writes what is not plain ASCII. */
export function decodeName(value: string): string {
  const encoded = BASE64.exec(value)?.[1];
  return encoded === undefined
    ? Buffer.from(value, 'latin1').toString('utf8')
    : Buffer.from(encoded, 'base64').toString('utf8');
}

/** What routes are chosen by, in the message itself and in its `params`. */
const SIGNIFICANT = [new Set(['method', 'params']), new Set(['name', 'uri', 'taskId'])] as const;

/** As the laxest of parsers compares keys: without regard to case. */
function fold(key: string): string {
  return key.toUpperCase().toLowerCase();
}

const FOLDED = SIGNIFICANT.map((keys) => new Set([...keys].map(fold)));

/** @param text JSON that was parsed already, so that nothing here need check it */
function hasAmbiguousKeys(text: string): boolean {
  const seen = [new Set<string>(), new Set<string>()] as const;
  /** Containers that are open, and for each whether the next string in it is a key. */
  const open: ('key' | 'value' | 'list')[] = [];
  let topKey = '';
  for (let at = 0; at < text.length; at += 1) {
    switch (text[at]) {
      case '{':
        open.push('key');
        break;
      case '[':
        open.push('list');
        break;
      case '}':
      case ']':
        open.pop();
        break;
      case ',':
        if (open.at(-1) === 'value') open[open.length - 1] = 'key';
        break;
      case '"': {
        const end = endOfString(text, at);
        if (open.at(-1) === 'key') {
          open[open.length - 1] = 'value';
          const level = open.length - 1;
          const keys = SIGNIFICANT[level];
          const isOfMessage = level === 0 || (level === 1 && topKey === 'params');
          if (keys !== undefined && isOfMessage) {
            const key = String(JSON.parse(text.slice(at, end + 1)));
            if (level === 0) topKey = key;
            if (FOLDED[level]?.has(fold(key)) === true && (!keys.has(key) || seen[level]?.has(key) === true))
              return true;
            seen[level]?.add(key);
          }
        }
        at = end;
        break;
      }
    }
  }
  return false;
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
