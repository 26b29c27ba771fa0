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

/** Counts the members of the outermost object by their text, because JSON.parse keeps only the last of two. */
function assertUnique(text: string, key: string): void {
  let count = 0;
  let depth = 0;
  for (const [token, name] of text.matchAll(/("(?:[^"\\]|\\.)*")(?=\s*:)|"(?:[^"\\]|\\.)*"|[{}[\]]/gs)) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (depth === 1 && name !== undefined && JSON.parse(name) === key) count += 1;
  }
  assert.ok(count <= 1, `"${key}" occurs twice`);
}
