import type { ErrorCode } from 'yaml';

/**
 * What a syntax error is, in a person's words. The library's own texts quote the source, and a secret may be just what is
 * there; so these name no value.
 */
const MESSAGES: Partial<Record<ErrorCode, string>> = {
  BAD_INDENT:
    'a bracket that is not closed, or wrong indentation: keys of one map start in the same column, and what they hold is indented further',
  MISSING_CHAR: 'a bracket, quote, comma or space is missing here or just before, or the indentation is wrong',
  BLOCK_AS_IMPLICIT_KEY:
    'a map within a line: put a value that holds ": " in quotes, or begin the map on a line of its own',
  MULTILINE_IMPLICIT_KEY:
    'this continues on the next line, which contains a key: indent that key like the other keys of its map, or add the missing ":" here',
  BLOCK_IN_FLOW: 'lines with "-" or indented keys cannot stand within { } or [ ]: use one style',
  BAD_SCALAR_START: 'a value cannot start with this character: put it in quotes',
  BAD_DQ_ESCAPE: 'an escape that is none: double the backslash, or use single quotes',
  NON_STRING_KEY: 'a key that is a list or a map: write a plain word',
  MULTIPLE_DOCS: 'a second document: a config file is one document, so remove the "---" and what follows',
  TAG_RESOLVE_FAILED: 'a tag ("!…") that means nothing here: remove it',
  BAD_ALIAS: 'an alias ("*…") that is malformed: put the value in quotes if none is meant',
  BAD_DIRECTIVE: 'a directive ("%…") that means nothing here: remove it',
  UNEXPECTED_TOKEN: 'this cannot stand here: check the brackets, quotes and indentation around it',
  RESOURCE_EXHAUSTION: 'nested too deeply for a config file',
};

export function syntaxMessage(code: ErrorCode): string {
  return MESSAGES[code] ?? 'this is not YAML or JSON: check the brackets, quotes and indentation around it';
}
