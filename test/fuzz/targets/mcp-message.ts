import assert from 'node:assert/strict';
import { decodeName, headerDisagreement, readMcpMessage } from '../../../src/routing/mcp-message.ts';

/** An accepted message is what every JSON parser reads, and a refusal repeats nothing of it. Input: a body. */
export function fuzz(data: Buffer): void {
  decodeName(data.toString('latin1'));
  const reading = readMcpMessage(data);
  if ('wrong' in reading) {
    assert.match(reading.wrong, /^(?:its|the) [\w "',.&-]{5,120}$/);
    return;
  }
  const { message } = reading;
  const text = data.toString('utf8');
  const value = JSON.parse(text) as { method?: string; params?: Record<string, unknown> };
  assert.equal(value.method, message.method);
  if (message.method === 'tools/call') assert.equal(value.params?.name, message.name);
  for (const first of ['method', 'params'] as const) assertUnique(text, first);
  // The same message, written by another program.
  assert.deepEqual(readMcpMessage(Buffer.from(JSON.stringify(value))), reading);
  if (message.method === undefined) return;
  const encoded = message.name === undefined ? [] : [`=?base64?${Buffer.from(message.name).toString('base64')}?=`];
  const headers = { versions: ['2026-07-28'], methods: [message.method], names: encoded };
  assert.equal(headerDisagreement(reading, headers), undefined);
  assert.notEqual(headerDisagreement(reading, { ...headers, methods: [`${message.method}x`] }), undefined);
}

/** Takes the members of the outermost object one by one, by a parser that keeps the first of two. */
function assertUnique(text: string, key: string): void {
  const seen: string[] = [];
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"(?=\s*:)|"(?:[^"\\]|\\.)*"|[{}[\]]/gs)) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (depth === 1) seen.push(String(JSON.parse(token)));
  }
  // A value may also be this text.
  const { length } = seen.filter((name) => name === key);
  if (length > 1) assert.ok(Object.values(JSON.parse(text) as object).includes(key), `"${key}" occurs twice`);
}
