export interface Rewriter {
  push(chunk: Buffer): Buffer;
  rest(): Buffer;
}

/** Limit for buffering an endpoint event: a URL, and room for other fields. */
const MAX_BUFFERED_BYTES = 8192;

const NOTHING = Buffer.alloc(0);
const LF = 0x0a;
const CR = 0x0d;

/** The line that names an endpoint event, without its white space. No other byte may follow. */
const NAME = 'event:endpoint\n';
const NAMED = NAME.length - 1;
const DATA = 'data';
const NO_MATCH = NAME.length;

/** A line or line end of an endpoint event beside its data, which every client reads in the same way. */
const CLEAR = /^(?!data)(?:[!-~][\t -~]*|\r?\n)?$/i;

const OTHER = 0;
const LINE_END = 1;
const LENIENT_END = 2;
/**
 * The kind of each byte. Some clients end a line at the characters that end in these: CR, VT, FF, FS, GS, RS, NEL, U+2028, U+2029.
 * To others, they are white space.
 */
const KINDS = new Uint8Array(256);
for (const byte of [CR, 0x0b, 0x0c, 0x1c, 0x1d, 0x1e, 0x85, 0xa8, 0xa9]) KINDS[byte] = LENIENT_END;
KINDS[LF] = LINE_END;

/**
 * Rewrites the URL of each `endpoint` event in the stream of an HTTP+SSE server: clients send all further messages there. All
 * other bytes pass unchanged, and at once.
 * @param rewrite returns the URL for the caller. Throws for a URL that the caller must not get, and for undefined: an event that
 *   clients could read differently
 * @see MCP 2024-11-05, "HTTP with SSE"; WHATWG HTML section 9.2.6 for the syntax
 */
export function createEndpointRewriter(rewrite: (url: string | undefined) => string): Rewriter {
  /** The last byte of the earlier pieces. */
  let last = LF;
  /** Length of the current line in the earlier pieces. */
  let begun = 0;
  /** Progress of the current part of the line, up to a lenient line end, in the name. */
  let name = 0;
  /** The same with earlier parts of the line, for clients to which a lenient line end is white space. */
  let joined = 0;
  let data = 0;
  let hasData = false;
  /** The endpoint event, from the end of its name on. */
  let held: string | undefined;

  function read(chunk: Buffer, start: number, end: number): void {
    name = match(NAME, name, chunk, start, end);
    if (joined > 0) joined = match(NAME, joined, chunk, start, end);
    data = match(DATA, data, chunk, start, end);
  }

  /** Ends a part of a line. @returns whether it names an endpoint event */
  function endPart(): boolean {
    const isNamed = name === NAMED || joined === NAMED;
    if (data === DATA.length) hasData = true;
    if (name > 0 && name !== NO_MATCH) joined = name;
    name = 0;
    data = 0;
    return isNamed;
  }

  function endLeniently(): void {
    if (endPart() && held === undefined) rewrite(undefined);
  }

  return {
    push(chunk) {
      if (chunk.length === 0) return chunk;
      const parts: Buffer[] = [];
      let passed = 0;
      let lineStart = -begun;
      let partStart = 0;
      if (last === CR && chunk[0] !== LF) endLeniently();
      for (let at = 0; at < chunk.length; at += 1) {
        const kind = KINDS[chunk[at] as number];
        if (kind === OTHER) continue;
        read(chunk, partStart, at);
        partStart = at + 1;
        if (kind === LENIENT_END) {
          // The next piece tells whether this begins CR LF.
          const isOpen = chunk[at] === CR && (partStart === chunk.length || chunk[partStart] === LF);
          if (!isOpen) endLeniently();
          continue;
        }
        const length = at - lineStart;
        const isEmpty = length === 0 || (length === 1 && (at === 0 ? last : chunk[at - 1]) === CR);
        const isNamed = endPart();
        joined = 0;
        lineStart = partStart;
        if (isEmpty) {
          hasData = false;
          if (held === undefined) continue;
          parts.push(rewritten(held + chunk.toString('latin1', passed, lineStart), rewrite));
          held = undefined;
          passed = lineStart;
        } else if (isNamed && held === undefined) {
          if (hasData) rewrite(undefined);
          parts.push(chunk.subarray(passed, lineStart));
          held = '';
          passed = lineStart;
        }
      }
      read(chunk, partStart, chunk.length);
      last = chunk.at(-1) as number;
      begun = chunk.length - lineStart;
      if (held !== undefined) {
        held += chunk.toString('latin1', passed);
        if (held.length > MAX_BUFFERED_BYTES) rewrite(undefined);
      } else if (passed === 0) return chunk;
      else parts.push(chunk.subarray(passed));
      return Buffer.concat(parts);
    },
    rest() {
      if (held !== undefined) return rewritten(held, rewrite);
      // Some clients take the end of the stream for the end of the event.
      if (endPart() && hasData) rewrite(undefined);
      return NOTHING;
    },
  };
}

/**
 * Matches a part of a line with a word, in lower case. Only visible ASCII counts: some clients remove white space of Unicode, or drop
 * control characters. Stops at the first byte that differs, so that most lines cost next to nothing.
 * @param matched how much of the word earlier bytes had
 */
function match(word: string, matched: number, chunk: Buffer, start: number, end: number): number {
  let count = matched;
  for (let at = start; at < end && count < word.length; at += 1) {
    const byte = chunk[at] as number;
    if (byte <= 0x20 || byte >= 0x7f) continue;
    count = (byte | 0x20) === word.charCodeAt(count) ? count + 1 : NO_MATCH;
  }
  return count;
}

/** Rewrites the data of an endpoint event. One without data is refused too: some clients keep its name for the next event. */
function rewritten(event: string, rewrite: (url: string | undefined) => string): Buffer {
  const parts = event.split(/(\r?\n)/);
  const [data = '', ...more] = parts.filter((part) => !CLEAR.test(part));
  const [, field = '', url] = (more.length === 0 && /^(data: ?)([^\r]+)$/.exec(data)) || [];
  const text = rewrite(url === undefined ? undefined : Buffer.from(url, 'latin1').toString('utf8'));
  return Buffer.from(parts.map((part) => (part === data ? field + text : part)).join(''), 'latin1');
}
