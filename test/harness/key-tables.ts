import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { AGENT_TOKEN_KEYS } from '../../src/config/agents.ts';
import { KEYS } from '../../src/config/config.ts';
import type { Keys } from '../../src/config/key.ts';
import { LISTENER_KEYS, LISTENER_TLS_KEYS } from '../../src/config/listen.ts';
import { ROUTE } from '../../src/config/resolve-route.ts';
import { ROUTE_KEYS } from '../../src/config/route-keys.ts';
import { TEAM_KEYS } from '../../src/config/teams.ts';
import { anchorOf } from './pages.ts';

const FOLDER = new URL('../../config/', import.meta.url);

const SERVER = KEYS.authorization_servers.keys?.['*']?.keys ?? {};
const { name, match, upstream } = ROUTE;

/** The pages with tables of keys, and the keys of each table, in their order. */
const TABLES: Readonly<Record<string, readonly Keys[]>> = {
  'README.md': [KEYS, SERVER, { name, match, upstream }, ROUTE_KEYS],
  'agents.md': [KEYS.agents.keys ?? {}, AGENT_TOKEN_KEYS],
  'authorization-servers.md': [SERVER.client_auth?.keys ?? {}],
  'listeners.md': [LISTENER_KEYS, LISTENER_TLS_KEYS],
  'signals.md': [KEYS.signals.keys ?? {}],
  'teams.md': [TEAM_KEYS],
};

/** A map that takes any of these is one value, as `{ file }` is. */
const VALUES = new Set(['file', 'file env']);

export const PAGES = Object.keys(TABLES);

/** Keys with keys of their own that have another table. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  signals: '[keys](signals.md#keys)',
  agents: '[keys](agents.md#keys)',
  client_auth: '[keys](authorization-servers.md#keys-client-authentication)',
};

function rowsOf(keys: Keys, path: string): string[] {
  return Object.entries(keys).flatMap(([key, { keys: children, ...one }]) => {
    const form = ELSEWHERE[key] ?? one.about.form ?? '';
    if (form === '' && children !== undefined) return rowsOf(children, `${path}${key}.`);
    const [, page] = /\]\((.*)#keys/.exec(form) ?? [];
    const hasTable = page !== undefined && (page || 'README.md') in TABLES;
    assert.ok(hasTable || (form !== '' && !hasKeys(one.schema)), `no table has the keys of ${path}${key}`);
    assert.ok(one.about.without === undefined || one.about.default === undefined, `two defaults of ${path}${key}`);
    const without = one.about.without ?? (one.isRequired ? 'required' : defaultOf(one.about.default));
    const { description = '' } = one.schema.meta() ?? {};
    return [
      `| \`${path}${key}\` | ${form} | ${without} | ${description.replaceAll('|', '\\|')}${linkTo(one.about.page)} |`,
    ];
  });
}

/** Whether a value is a map, or a list of maps. A map like `{ file }` or `{ file, env }` is one value. */
function hasKeys(schema: unknown): boolean {
  if (schema instanceof z.ZodArray) return hasKeys(schema.element);
  return schema instanceof z.ZodObject && !VALUES.has(Object.keys(schema.shape).join(' '));
}

function defaultOf(value: unknown): string {
  return value === undefined
    ? 'none'
    : [value]
        .flat()
        .map((each) => `\`${each}\``)
        .join(' ');
}

/** @param page a page of `config`, and the anchor of a heading on it */
function linkTo(page: string | undefined): string {
  if (page === undefined) return '';
  const [file = '', anchor] = page.split('#');
  const headings = [...readFileSync(new URL(file, FOLDER), 'utf8').matchAll(/^(#+) (.+)$/gm)];
  const title = headings.find(([, level, text = '']) =>
    anchor === undefined ? level === '#' : anchorOf(text) === anchor,
  );
  if (title?.[2] === undefined) throw new Error(`no heading for ${page}`);
  return ` See [${title[2]}](${page}).`;
}

const HEADER = '| key | type | default | meaning |\n';

/** The page with its tables written again. */
export function withKeyTables(page: string): string {
  const [before = '', ...parts] = readFileSync(new URL(page, FOLDER), 'utf8').split(HEADER);
  assert.equal(parts.length, TABLES[page]?.length, `${page} lacks a table`);
  const tables = parts.map((part, index) => {
    const rows = rowsOf(TABLES[page]?.[index] ?? {}, '').join('\n');
    return `${HEADER}| --- | --- | --- | --- |\n${rows}\n${part.replace(/^(?:\|.*\n)*/, '')}`;
  });
  return before + tables.join('');
}
