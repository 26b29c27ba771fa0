import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { stringify } from 'yaml';
import type { Config } from '../config/config.ts';
import { HIDDEN, hideKeys } from './hide-keys.ts';

/** The file of the active config, without comments and secrets. */
export interface EffectiveConfig {
  yaml(): Promise<string>;
  json(): Promise<string>;
  /** The YAML for the status page, unless it is too long for a page. */
  short(): Promise<string | undefined>;
}

/** Routes whose config a person reads on a page. */
const MAX_SHORT_ROUTES = 100;
/** Writing a route takes some tenths of a millisecond. Other work gets its turn after this many. */
const ROUTES_IN_A_ROW = 20;

type Content = Readonly<Record<string, unknown>>;

export function createEffectiveConfig(active: () => Config): EffectiveConfig {
  let last: { config: Config; missing: string; text: string } | undefined;

  async function yaml(): Promise<string> {
    const config = active();
    const missing = await missingFiles(config);
    const names = [...missing].join('\0');
    if (last?.config !== config || last.missing !== names) {
      last = { config, missing: names, text: await writeYaml(maskedContent(config, missing)) };
    }
    return last.text;
  }

  return {
    yaml,
    async json() {
      const config = active();
      return `${JSON.stringify(maskedContent(config, await missingFiles(config)), null, 2)}\n`;
    },
    async short() {
      return active().routes.length > MAX_SHORT_ROUTES ? undefined : yaml();
    },
  };
}

async function writeYaml({ routes, ...top }: Content): Promise<string> {
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

const filesOfConfigs = new WeakMap<Config, ReadonlySet<string>>();

async function missingFiles(config: Config): Promise<ReadonlySet<string>> {
  let files = filesOfConfigs.get(config);
  if (files === undefined) {
    files = new Set(filesIn(config.file.content).map((path) => resolve(config.file.folder, path)));
    filesOfConfigs.set(config, files);
  }
  const missing = new Set<string>();
  await Promise.all([...files].map((file) => access(file).catch(() => missing.add(file))));
  return missing;
}

/** The values of `file` in a part of a config. */
function filesIn(value: unknown, key = ''): string[] {
  if (typeof value === 'string') return key === 'file' ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, part]) => filesIn(part, name));
}
