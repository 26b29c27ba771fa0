import type { ErrorCode } from 'yaml';

/** Messages for syntax errors. The library's own messages quote the source, which may contain a secret. */
const MESSAGES: Partial<Record<ErrorCode, string>> = {
  BAD_INDENT:
    'wrong indentation, or a bracket that is not closed: keys of one map start in the same column, and their values are indented further',
  MISSING_CHAR: 'missing bracket, quote, comma or space here or just before, or wrong indentation',
  BLOCK_AS_IMPLICIT_KEY:
    'a map cannot start within a line: put a value that contains ": " in quotes, or start the map on its own line',
  MULTILINE_IMPLICIT_KEY:
    'this text continues on the next line, which contains a key: indent that key like the other keys of its map, or add the missing ":" here',
  BLOCK_IN_FLOW: 'indented keys and "-" are not allowed within { } or [ ]: use one style',
  BAD_SCALAR_START: 'a value cannot start with this character: put it in quotes',
  BAD_DQ_ESCAPE: 'invalid escape sequence: double the backslash, or use single quotes',
  NON_STRING_KEY: 'a key cannot be a list or a map: write a plain word',
  MULTIPLE_DOCS: 'second document in the file: remove "---" and everything after it',
  TAG_RESOLVE_FAILED: 'unknown tag ("!…"): remove it',
  BAD_ALIAS: 'malformed alias ("*…"): put the value in quotes if it is plain text',
  BAD_DIRECTIVE: 'unknown directive ("%…"): remove it',
  UNEXPECTED_TOKEN: 'unexpected character: check the brackets, quotes and indentation around it',
  RESOURCE_EXHAUSTION: 'nested too deeply for a config file',
};

export const TAB = 'tab in the indentation: indent with spaces';

export const VARIABLE_IN_BRACES =
  'variable in braces: cambist replaces no variables, and within { } or [ ] this is not valid YAML: after "env", ' +
  'write the bare name, as in { env: NAME }; put any other value in quotes';

export const MISSING_SPACE = 'missing space after the ":" of this key';

const MISSING_COMMA = 'missing comma or closing quote after this value';

/** @param inBrackets whether the error is within { } or [ ], as all errors in JSON are */
export function syntaxMessage(code: ErrorCode, inBrackets = false): string {
  if (inBrackets && code === 'MULTILINE_IMPLICIT_KEY') return MISSING_COMMA;
  return MESSAGES[code] ?? 'not valid YAML or JSON: check the brackets, quotes and indentation around it';
}
