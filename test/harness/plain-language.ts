import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, extname, join, normalize } from 'node:path';
import { SyntaxKind } from 'typescript/unstable/ast';
import { createScanner, type Scanner } from 'typescript/unstable/ast/scanner';

/** Replaces code between two pieces of prose. A sentence can start after it. */
const CODE = '\u0001';
/** Replaces code inside prose, such as a code span or a template substitution. */
const INLINE_CODE = '\u0002';

/** After these tokens a `/` divides. After any other token it starts a regular expression. */
const OPERAND_ENDS = new Set([
  SyntaxKind.Identifier,
  SyntaxKind.NumericLiteral,
  SyntaxKind.BigIntLiteral,
  SyntaxKind.StringLiteral,
  SyntaxKind.NoSubstitutionTemplateLiteral,
  SyntaxKind.TemplateTail,
  SyntaxKind.RegularExpressionLiteral,
  SyntaxKind.CloseParenToken,
  SyntaxKind.CloseBracketToken,
  SyntaxKind.CloseBraceToken,
  SyntaxKind.ThisKeyword,
  SyntaxKind.SuperKeyword,
  SyntaxKind.TrueKeyword,
  SyntaxKind.FalseKeyword,
  SyntaxKind.NullKeyword,
]);

/**
 * Returns the text of a file with the code masked, so that the prose alone is left: comments, string literals that
 * contain a space, and in Markdown everything outside of code spans. Offsets and line breaks stay as they are.
 */
function proseOf(path: string, text: string): string {
  switch (extname(path)) {
    case '.ts':
    case '.mjs':
      return proseOfTypeScript(text);
    case '.md':
      return maskCodeSpans(text);
    case '.json':
      return proseOfMatches(text, /"(?:\\.|[^"\\\n])*"/g);
    case '.go':
    case '.java':
    case '.py':
      return proseOfMatches(text, /\/\/.*|#.*|"(?:\\.|[^"\\\n])*"/g);
    case '.yaml':
    case '.yml':
    case '.sh':
    case '.txt':
      return maskCodeSpans(text);
    default:
      return basename(path) === 'Dockerfile' ? maskCodeSpans(text) : blank(text, CODE);
  }
}

function proseOfTypeScript(text: string): string {
  let prose = '';
  let follows = SyntaxKind.Unknown;
  for (const { token, text: part } of tokensOf(text)) {
    prose += maskToken(token, part, follows === token);
    if (token !== SyntaxKind.NewLineTrivia && token !== SyntaxKind.WhitespaceTrivia) follows = token;
  }
  return prose;
}

/** The tokens of TypeScript, with comments and white space. */
export function* tokensOf(text: string): Generator<{ token: SyntaxKind; text: string; start: number }> {
  const scanner = createScanner(false);
  scanner.setText(text);
  let previous = SyntaxKind.Unknown;
  /** The open braces. Does each belong to a template? */
  const braces: boolean[] = [];
  for (;;) {
    const token = scanToken(scanner, previous, braces);
    if (token === SyntaxKind.EndOfFile) return;
    yield { token, text: scanner.getTokenText(), start: scanner.getTokenStart() };
    if (!isComment(token) && token !== SyntaxKind.NewLineTrivia && token !== SyntaxKind.WhitespaceTrivia)
      previous = token;
  }
}

/** Scans a token. Resolves the two ambiguities that a scanner leaves to the parser: templates and regular expressions. */
function scanToken(scanner: Scanner, previous: SyntaxKind, braces: boolean[]): SyntaxKind {
  const token = scanner.scan();
  switch (token) {
    case SyntaxKind.SlashToken:
    case SyntaxKind.SlashEqualsToken:
      return OPERAND_ENDS.has(previous) ? token : scanner.reScanSlashToken();
    case SyntaxKind.OpenBraceToken:
      braces.push(false);
      return token;
    case SyntaxKind.TemplateHead:
      braces.push(true);
      return token;
    case SyntaxKind.CloseBraceToken: {
      if (braces.at(-1) !== true) {
        braces.pop();
        return token;
      }
      const part = scanner.reScanTemplateToken(false);
      if (part === SyntaxKind.TemplateTail) braces.pop();
      return part;
    }
    default:
      return token;
  }
}

function isComment(token: SyntaxKind): boolean {
  return token === SyntaxKind.SingleLineCommentTrivia || token === SyntaxKind.MultiLineCommentTrivia;
}

function maskToken(token: SyntaxKind, text: string, followsItsKind: boolean): string {
  switch (token) {
    case SyntaxKind.NewLineTrivia:
    case SyntaxKind.WhitespaceTrivia:
      return text;
    case SyntaxKind.SingleLineCommentTrivia:
      // Consecutive line comments are one text.
      return (followsItsKind ? '  ' : CODE.repeat(2)) + maskCodeSpans(text.slice(2));
    case SyntaxKind.MultiLineCommentTrivia: {
      const inside = text.slice(2).replace(/^\s*\*/gm, (star) => ' '.repeat(star.length));
      return CODE.repeat(2) + maskCodeSpans(inside.replace(/\*\/$/, '  '));
    }
    case SyntaxKind.StringLiteral:
      return text.includes(' ') ? `${CODE}${text.slice(1, -1)}${CODE}` : blank(text, CODE);
    case SyntaxKind.NoSubstitutionTemplateLiteral:
      return `${CODE}${text.slice(1, -1)}${CODE}`;
    case SyntaxKind.TemplateHead:
      return `${CODE}${text.slice(1, -2)}${INLINE_CODE.repeat(2)}`;
    case SyntaxKind.TemplateMiddle:
      return `${INLINE_CODE}${text.slice(1, -2)}${INLINE_CODE.repeat(2)}`;
    case SyntaxKind.TemplateTail:
      return `${INLINE_CODE}${text.slice(1, -1)}${CODE}`;
    default:
      return blank(text, CODE);
  }
}

/** Keeps the matches that contain a space. Masks the rest. */
function proseOfMatches(text: string, pattern: RegExp): string {
  let prose = '';
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    prose += blank(text.slice(end, match.index), CODE);
    prose += match[0].includes(' ') ? match[0] : blank(match[0], CODE);
    end = match.index + match[0].length;
  }
  return prose + blank(text.slice(end), CODE);
}

function maskCodeSpans(text: string): string {
  return text.replace(/(?<!`)`[^`\n]+`(?!`)/g, (span) => blank(span, INLINE_CODE));
}

function blank(text: string, mask: string): string {
  return text.replace(/\S/g, mask);
}

/** A phrase of the stilted register, and its replacement in plain English. */
interface Rule {
  pattern: RegExp;
  use: string;
}

const SENTENCE_START = `(?<=(?:^|[${CODE}|.!?]|\\n\\s*\\n)[\\s"'(*#>-]*)`;

const RULES: Rule[] = [
  { pattern: /\banswers?\b/gi, use: 'response; to return, to respond with' },
  { pattern: /\b(?<![</])[Hh]eads?\b(?!-of-line| -|\(|>)/g, use: 'headers, response headers' },
  { pattern: /\bmend(?:s|ed|ing)?\b/gi, use: 'fix, remedy' },
  {
    pattern: /\b(?:past|(?<!at )(?<!to )(?<!until )(?<!before )(?:its|their|whose))\s+(?:own\s+)?end\b/gi,
    use: 'expires, expired, expiry',
  },
  { pattern: /\b(?:has|have|had)\s+(?:already\s+)?ended\b/gi, use: 'expired; finished, closed' },
  {
    pattern: /\b(?:token|credential|certificate|key|assertion|session|secret)s?\s+(?:ends?|ended)\b/gi,
    use: 'expires, expired',
  },
  { pattern: /\bunder\s+way\b/gi, use: 'in flight' },
  { pattern: /\b(?:bears?|borne)\b/gi, use: 'contains, has, carries' },
  { pattern: /\bthe\s+ones?\s+before\b/gi, use: 'previous, earlier' },
  { pattern: /\banew\b/gi, use: 'again; to reload, to recreate' },
  { pattern: /\b(?:is|are|was|were|be)\s+none\b/gi, use: 'invalid, missing, malformed, unknown' },
  {
    pattern: /(?<!\bthere\s+)\b(?:is|are|was|were)\s+no\s+(?!longer\b|more\b|less\b|later\b|earlier\b|fewer\b)/gi,
    use: 'an adjective: invalid, missing, malformed, unknown, unused',
  },
  { pattern: /\b(?:whoever|whom|whomever)\b/gi, use: 'caller, client, operator, backend' },
  { pattern: /\b(?:nobody|somebody|anybody|everybody)\b/gi, use: 'caller, client, operator, backend; no caller' },
  { pattern: /\bwho\s+asks?\b/gi, use: 'caller, client' },
  { pattern: /\b(?:held|hold|holds|holding)\s+back\b/gi, use: 'buffer, pause, backpressure' },
  { pattern: /\bfree\s+connections?\b/gi, use: 'idle connection' },
  { pattern: /\b(?:is|are|was|were|be|been|being)\s+cut\b/gi, use: 'closed, aborted, drained' },
  { pattern: /\b(?:a|every|each)\s+need\b/gi, use: 'readiness check' },
  { pattern: /\bpacers?\b/gi, use: 'cooldown' },
  { pattern: /\bonce\s+more\b|\banother\s+attempt\s+in\b/gi, use: 'to retry, again' },
  { pattern: /\b(?:lead|leads|led)\s+in\b|\b(?:keep|keeps|kept)\s+out\b/gi, use: 'to admit, to route, to refuse' },
  { pattern: /\bof\s+(?:ours|our\s+own)\b/gi, use: 'own, our' },
  {
    pattern: new RegExp(`${SENTENCE_START}(?:What|Who)(?!')\\b(?![^.!${CODE}]*\\?)`, 'g'),
    use: 'a sentence with a noun as its subject',
  },
];

/** Files without our prose: generated, or vendored. This scanner's own test quotes what it finds. */
const SKIPPED = [
  'config/cambist.schema.json',
  'deploy/helm/cambist/values.schema.json',
  'test/harness/fixtures',
  'test/integration/docs/plain-language.test.ts',
];
const SKIPPED_FOLDERS = new Set(['node_modules', 'dist', '.git', '.cache', 'coverage']);

/** The paths that are scanned unless others are named. */
export const ROOTS = [
  'src',
  'test',
  'deploy',
  'config',
  'Dockerfile',
  'README.md',
  'CHANGELOG.md',
  'SECURITY.md',
] as const;

/** The stilted phrases in a text. The extension of `file` tells prose from code. */
export function findingsIn(file: string, text: string) {
  const prose = proseOf(file, text);
  const findings: { file: string; line: number; phrase: string; use: string }[] = [];
  for (const { pattern, use } of RULES) {
    for (const match of prose.matchAll(pattern)) {
      const line = text.slice(0, match.index).split('\n').length;
      findings.push({ file, line, phrase: match[0].replace(/\s+/g, ' ').trim(), use });
    }
  }
  return findings.sort((a, b) => a.line - b.line);
}

/** Scans files and, recursively, folders. */
export function scan(paths: readonly string[]) {
  return paths.flatMap(filesBelow).flatMap((file) => findingsIn(file, readFileSync(file, 'utf8')));
}

function filesBelow(path: string): string[] {
  const file = normalize(path).replace(/\/$/, '');
  if (isBelow(file, SKIPPED)) return [];
  if (!statSync(file).isDirectory()) return [file];
  return readdirSync(file)
    .filter((name) => !SKIPPED_FOLDERS.has(name))
    .sort()
    .flatMap((name) => filesBelow(join(file, name)));
}

/** Is the file one of these paths, or in one of these folders? */
function isBelow(file: string, paths: readonly string[]): boolean {
  return paths.some((path) => file === path || file.startsWith(`${path}/`));
}
