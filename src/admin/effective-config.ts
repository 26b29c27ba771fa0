import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { stringify } from 'yaml';
import type { Config } from '../config/config.ts';
import { HIDDEN, hideKeys } from './hide-keys.ts';

/** Routes whose config a person reads on a page. */
const MAX_SHORT_ROUTES = 100;
/** Writing a route takes some tenths of a millisecond. Other work runs after this many. */
const ROUTES_IN_A_ROW = 20;

type Content = Readonly<Record<string, unknown>>;

/** The last text, because the status page loads it every few seconds. */
let last = { json: '', yaml: '' };

/** The file of a config as YAML, without comments and secrets. */
export async function configYaml(config: Config): Promise<string> {
  const content = await maskedContent(config);
  const json = JSON.stringify(content);
  if (last.json !== json) last = { json, yaml: await writeYaml(content) };
  return last.yaml;
}

export async function configJson(config: Config): Promise<string> {
  return `${JSON.stringify(await maskedContent(config), null, 2)}\n`;
}

/** The YAML for the status page, unless it is too long for a page. */
export async function shortYaml(config: Config): Promise<string | undefined> {
  return config.routes.length > MAX_SHORT_ROUTES ? undefined : configYaml(config);
}

async function writeYaml({ routes = [], ...top }: Content): Promise<string> {
  const options = { lineWidth: 0, aliasDuplicateObjects: false };
  const texts = [stringify(top, options), 'routes:\n'];
  for (const [index, route] of (routes as Content[]).entries()) {
    texts.push(stringify([route], options).replaceAll(/^(?=.)/gm, '  '));
    if (index % ROUTES_IN_A_ROW === ROUTES_IN_A_ROW - 1) await setImmediate();
  }
  return texts.join('');
}

/** URLs of these keys are shown whole: callers and servers see them, and a tenant in them looks like a key. */
const IDENTIFIERS: ReadonlySet<string> = new Set(['issuer', 'assertion_audience', 'consent_url']);

/** The last look at files. Another page waits for it: where a file system does not respond, each look occupies one of Node's few threads. */
let looking = Promise.resolve();

/**
 * Masks what could be a secret. A file or variable that does not exist could be the secret itself, written in the wrong place.
 * @see `reportMissing` of `config/sources.ts`
 */
async function maskedContent({ file }: Config): Promise<Content> {
  const missing = new Set<string>();
  looking = looking.then(async () => {
    for (const name of filesIn(file.content)) await access(resolve(file.folder, name)).catch(() => missing.add(name));
  });
  await looking;
  const mask = (value: unknown, key = ''): unknown => {
    if (Array.isArray(value)) return value.map((entry) => mask(entry, key));
    if (typeof value === 'object' && value !== null) {
      const masked = key === 'extra_params' ? () => HIDDEN : mask;
      return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, masked(part, name)]));
    }
    if (typeof value !== 'string' || IDENTIFIERS.has(key)) return value;
    if (key === 'file') return missing.has(value) ? '[no such file]' : value;
    if (key === 'env') return (process.env[value] ?? '') === '' ? '[variable not set]' : value;
    return hideKeys(value);
  };
  return mask(file.content) as Content;
}

/** The values of `file` in a part of a config. */
function filesIn(value: unknown, key = ''): string[] {
  if (typeof value === 'string') return key === 'file' ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, part]) => filesIn(part, name));
}
