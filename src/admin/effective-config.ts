import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { stringify } from 'yaml';
import type { Config } from '../config/config.ts';
import { oncePer } from '../secrets/secret.ts';
import { HIDDEN, hideKeys } from './hide-keys.ts';

/** Routes whose config a person reads on a page. */
const MAX_SHORT_ROUTES = 100;
/** Writing a route takes some tenths of a millisecond. Other work gets its turn after this many. */
const ROUTES_IN_A_ROW = 20;

type Content = Readonly<Record<string, unknown>>;

/** The last text of a config, which the status page asks for again and again. */
const lastTexts = new WeakMap<Config, { readonly missing: string; readonly text: string }>();

/** The file of a config as YAML, without comments and secrets. */
export async function configYaml(config: Config): Promise<string> {
  const missing = await missingFiles(config);
  const names = [...missing].join('\0');
  let last = lastTexts.get(config);
  if (last?.missing !== names) {
    last = { missing: names, text: await writeYaml(maskedContent(config, missing)) };
    lastTexts.set(config, last);
  }
  return last.text;
}

export async function configJson(config: Config): Promise<string> {
  return `${JSON.stringify(maskedContent(config, await missingFiles(config)), null, 2)}\n`;
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

/**
 * Masks what could be a secret. A file or variable that does not exist could be the secret itself, written in the wrong place.
 * @see `reportMissing` of `config/sources.ts`
 */
function maskedContent({ file }: Config, missing: ReadonlySet<string>): Content {
  const mask = (value: unknown, key = ''): unknown => {
    if (Array.isArray(value)) return value.map((entry) => mask(entry, key));
    if (typeof value === 'object' && value !== null) {
      const masked = key === 'extra_params' ? () => HIDDEN : mask;
      return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, masked(part, name)]));
    }
    if (typeof value !== 'string' || IDENTIFIERS.has(key)) return value;
    if (key === 'file') return missing.has(resolve(file.folder, value)) ? '[no such file]' : value;
    if (key === 'env') return (process.env[value] ?? '') === '' ? '[variable not set]' : value;
    return hideKeys(value);
  };
  return mask(file.content) as Content;
}

const filesOf = oncePer(
  ({ file: { content, folder } }: Config) => new Set(filesIn(content).map((path) => resolve(folder, path))),
);

async function missingFiles(config: Config): Promise<ReadonlySet<string>> {
  const missing = new Set<string>();
  await Promise.all([...filesOf(config)].map((file) => access(file).catch(() => missing.add(file))));
  return missing;
}

/** The values of `file` in a part of a config. */
function filesIn(value: unknown, key = ''): string[] {
  if (typeof value === 'string') return key === 'file' ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, part]) => filesIn(part, name));
}
