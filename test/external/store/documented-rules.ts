import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

/** The permissions of an ACL user in config/shared-cache.md. */
export function documentedRules(): string {
  const page = readFileSync(new URL('../../../config/shared-cache.md', import.meta.url), 'utf8');
  const [, rules = ''] = /^ACL SETUSER cambist on >PASSWORD ([^`]+)^```$/m.exec(page) ?? [];
  assert.ok(rules.includes('-@all'), 'the page has no rules');
  return rules.trim().replaceAll(/\s+/g, ' ');
}
