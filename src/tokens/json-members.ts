/** A member of a JSON object, with its position in the text. */
export interface JsonMember {
  readonly key: string;
  /** Offset of the key's opening quote. */
  readonly start: number;
  readonly valueStart: number;
  /** Offset after the value. */
  readonly end: number;
}

/**
 * Finds the members of an object without touching other bytes: parsing and writing would change numbers and spellings.
 * @param text valid JSON
 * @param at offset of the object's opening brace
 */
export function jsonMembers(text: string, at: number): JsonMember[] {
  const members: JsonMember[] = [];
  let next = skipSpace(text, at + 1);
  while (text[next] === '"') {
    const start = next;
    const keyEnd = endOfValue(text, start);
    const valueStart = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const end = endOfValue(text, valueStart);
    members.push({ key: String(JSON.parse(text.slice(start, keyEnd))), start, valueStart, end });
    next = skipSpace(text, end);
    if (text[next] === ',') next = skipSpace(text, next + 1);
  }
  return members;
}

/**
 * Replaces members of an object, and removes others.
 * @param replaced JSON text by key; undefined removes the member
 */
export function editMembers(text: string, at: number, replaced: ReadonlyMap<string, string | undefined>): string {
  const members = jsonMembers(text, at);
  const kept = members.flatMap(({ key, start, valueStart, end }) => {
    if (!replaced.has(key)) return [text.slice(start, end)];
    const value = replaced.get(key);
    return value === undefined ? [] : [text.slice(start, valueStart) + value];
  });
  const last = members.at(-1);
  const first = members[0];
  if (first === undefined || last === undefined) return text;
  return text.slice(0, first.start) + kept.join(',') + text.slice(last.end);
}

/** Offset of the first character that is not white space. */
export function skipSpace(text: string, from: number): number {
  let at = from;
  while (/[ \t\r\n]/.test(text[at] ?? '')) at += 1;
  return at;
}

function endOfValue(text: string, from: number): number {
  const first = text[from];
  if (first === '"') return endOfString(text, from);
  if (first !== '{' && first !== '[') {
    let at = from;
    while (at < text.length && !/[,}\] \t\r\n]/.test(text[at] as string)) at += 1;
    return at;
  }
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at) - 1;
    else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') {
      depth -= 1;
      if (depth === 0) return at + 1;
    }
  }
  return text.length;
}

/** Offset after the closing quote. */
function endOfString(text: string, from: number): number {
  let at = from + 1;
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}
