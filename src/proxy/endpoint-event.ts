export interface Rewriter {
  push(chunk: Buffer): Buffer;
  rest(): Buffer;
}

/** Limit for buffering an endpoint event: a URL, and room for other fields. */
const MAX_BUFFERED_BYTES = 8192;

/** Enough of a line to tell whether it names an endpoint event. */
const MAX_NAME_BYTES = 64;

const NOTHING = Buffer.alloc(0);
const CR = 0x0d;

/** Case and white space do not count: some clients are lenient. The first bytes of a lenient line end may follow. */
const ENDPOINT = /^(?:\xef\xbb\xbf)?\s*event\s*:\s*endpoint\s*(?:\xc2|\xe2\x80)?$/i;
const DATA = /^(?:\xef\xbb\xbf)?\s*data\s*(?::|$)/i;

/** Some clients end a line at the characters that end in these bytes: VT, FF, FS, GS, RS, NEL, U+2028, U+2029. */
const LENIENT_ENDS: readonly number[] = [0x0b, 0x0c, 0x1c, 0x1d, 0x1e, 0x85, 0xa8, 0xa9];

/** Text after one of these characters, which some clients read as another line of data. Looks back from `data`: some are white space. */
const MORE_DATA = new RegExp(`data(?<=[${String.fromCharCode(...LENIENT_ENDS)}]\\s*data)`, 'i');

const OTHER = 0;
const LINE_END = 1;
const LENIENT_END = 2;
/** The kind of each byte. */
const KINDS = new Uint8Array(256);
for (const byte of LENIENT_ENDS) KINDS[byte] = LENIENT_END;
for (const byte of [0x0a, CR]) KINDS[byte] = LINE_END;

/**
 * Rewrites the URL of each `endpoint` event in the stream of an HTTP+SSE server: clients send all further messages there. All
 * other bytes pass unchanged, and at once.
 * @param rewrite returns the URL for the caller. Throws for a URL that the caller must not get, and for undefined: an event that
 *   clients could read differently
 * @see MCP 2024-11-05, "HTTP with SSE"; WHATWG HTML section 9.2.6 for the syntax
 */
export function createEndpointRewriter(rewrite: (url: string | undefined) => string): Rewriter {
  /** The start of the current line, as far as it is in earlier pieces. */
  let begun = '';
  let endedWithCr = false;
  /** The current line has a lenient line end. */
  let isLenient = false;
  /** The current event has data. */
  let hasData = false;
  /** The endpoint event, from the end of its name on. */
  let held: string | undefined;

  /** Reads a line of the current event, or a part between lenient line ends. @returns whether it names an endpoint event */
  function read(line: string): boolean {
    if (DATA.test(line)) hasData = true;
    else if (ENDPOINT.test(line)) return true;
    return false;
  }

  return {
    push(chunk) {
      const parts: Buffer[] = [];
      let passed = 0;
      let lineStart = 0;
      for (let at = 0; at < chunk.length; at += 1) {
        const kind = KINDS[chunk[at] as number];
        if (kind === OTHER) continue;
        const isStart = at === lineStart && begun === '';
        const isOther = isStart || (begun === '' && !mayBeNamed(chunk, lineStart, at));
        const line = isOther ? '' : begun + startOfLine(chunk, lineStart, at);
        const isSecondHalf = isStart && endedWithCr && chunk[at] !== CR;
        begun = '';
        lineStart = at + 1;
        if (kind === LENIENT_END) {
          endedWithCr = false;
          if (held === undefined && read(line)) rewrite(undefined);
          isLenient = true;
          continue;
        }
        endedWithCr = chunk[at] === CR;
        if (isSecondHalf) continue;
        if (isStart && !isLenient) {
          hasData = false;
          if (held === undefined) continue;
          parts.push(rewritten(held + chunk.toString('latin1', passed, lineStart), rewrite));
          held = undefined;
          passed = lineStart;
        } else if (held === undefined && !isStart && read(line)) {
          if (hasData || isLenient) rewrite(undefined);
          parts.push(chunk.subarray(passed, lineStart));
          held = '';
          passed = lineStart;
        }
        isLenient = false;
      }
      if (lineStart < chunk.length) endedWithCr = false;
      begun = (begun + startOfLine(chunk, lineStart, chunk.length)).slice(0, MAX_NAME_BYTES);
      if (held !== undefined) {
        held += chunk.toString('latin1', passed);
        if (held.length > MAX_BUFFERED_BYTES) rewrite(undefined);
      } else if (passed === 0) return chunk;
      else parts.push(chunk.subarray(passed));
      return Buffer.concat(parts);
    },
    rest() {
      // Some clients take the end of the stream for the end of the event.
      if (held === undefined && read(begun) && hasData) rewrite(undefined);
      return held === undefined ? NOTHING : rewritten(held, rewrite);
    },
  };
}

/** Could this be a line of data or of a name? Spares most lines, and floods of short ones, the work of decoding them. */
function mayBeNamed(chunk: Buffer, start: number, end: number): boolean {
  if (end - start < 'data'.length) return false;
  const byte = chunk[start] as number;
  const letter = byte | 0x20;
  return letter === 0x64 || letter === 0x65 || byte <= 0x20 || byte === 0xef;
}

function startOfLine(chunk: Buffer, start: number, end: number): string {
  return chunk.toString('latin1', start, Math.min(end, start + MAX_NAME_BYTES));
}

/** Rewrites the data of an endpoint event, which has one line of it. Without data, clients ignore the event. */
function rewritten(event: string, rewrite: (url: string | undefined) => string): Buffer {
  const parts = event.split(/(\r\n|[\r\n])/);
  const lines = parts.filter((part) => DATA.test(part));
  if (lines.length === 0) return Buffer.from(event, 'latin1');
  const isClear = lines.length === 1 && !parts.some((part) => !DATA.test(part) && MORE_DATA.test(part));
  const [, name = '', url] = /^(data: ?)(.*)$/s.exec(isClear ? (lines[0] as string) : '') ?? [];
  const text = rewrite(url === undefined ? undefined : Buffer.from(url, 'latin1').toString('utf8'));
  return Buffer.from(parts.map((part) => (DATA.test(part) ? name + text : part)).join(''), 'latin1');
}
