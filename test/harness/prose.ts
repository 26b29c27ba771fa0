import { basename, extname } from 'node:path';
import { SyntaxKind } from 'typescript/unstable/ast';
import { createScanner, type Scanner } from 'typescript/unstable/ast/scanner';

/** Replaces code between two pieces of prose. A sentence can start after it. */
export const CODE = '\u0001';
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
export function proseOf(path: string, text: string): string {
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
  /** For each open brace: does it belong to a template? */
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
