import { access } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { stringify } from 'yaml';
import type { Config } from '../config/config.ts';
import { writtenConfig, writtenTop } from '../config/written-config.ts';
import { writtenRoute } from '../config/written-route.ts';
import type { ShowSource } from '../config/written-values.ts';
import type { CredentialSource } from '../secrets/credential.ts';

/** The active config with its defaults and without secrets. */
export interface EffectiveConfig {
  yaml(): Promise<string>;
  json(): Promise<string>;
  /** The YAML for the status page. Undefined if it is too long for a page. */
  short(): Promise<string | undefined>;
}

/** Routes whose config a person reads on a page. */
const MAX_SHORT_ROUTES = 100;
/** Writing a route takes some tenths of a millisecond. Other work gets its turn after this many. */
const ROUTES_IN_A_ROW = 20;

export function createEffectiveConfig(active: () => Config): EffectiveConfig {
  let last: { config: Config; missing: string; text: string } | undefined;

  async function yaml(): Promise<string> {
    const config = active();
    const { show, missing } = await readableSources(config);
    if (last?.config !== config || last.missing !== missing) {
      last = { config, missing, text: await writeYaml(config, show) };
    }
    return last.text;
  }

  return {
    yaml,
    async json() {
      const config = active();
      return `${JSON.stringify(writtenConfig(config, (await readableSources(config)).show), null, 2)}\n`;
    },
    async short() {
      return active().routes.length > MAX_SHORT_ROUTES ? undefined : yaml();
    },
  };
}

async function writeYaml(config: Config, show: ShowSource): Promise<string> {
  const options = { lineWidth: 0, aliasDuplicateObjects: false };
  const texts = [stringify(writtenTop(config, show), options), 'routes:\n'];
  for (const [index, route] of config.routes.entries()) {
    texts.push(stringify([writtenRoute(route, show)], options).replaceAll(/^(?=.)/gm, '  '));
    if (index % ROUTES_IN_A_ROW === ROUTES_IN_A_ROW - 1) await setImmediate();
  }
  return texts.join('');
}

/**
 * Shows files that exist and variables that are set. Another name could be the secret itself, written in the wrong place.
 * @see `reportMissing` of `config/sources.ts`
 */
async function readableSources(config: Config): Promise<{ show: ShowSource; missing: string }> {
  const missing = new Set<string>();
  await Promise.all([...filesOf(config)].map((file) => access(file).catch(() => missing.add(file))));
  const show = (source: CredentialSource): string => {
    if ('file' in source) return missing.has(source.file) ? '[no such file]' : source.file;
    return (process.env[source.env] ?? '') === '' ? '[variable not set]' : source.env;
  };
  return { show, missing: [...missing].join('\0') };
}

const filesOfConfigs = new WeakMap<Config, ReadonlySet<string>>();

/** The files that the written config names. */
function filesOf(config: Config): ReadonlySet<string> {
  const known = filesOfConfigs.get(config);
  if (known !== undefined) return known;
  const files = new Set<string>();
  writtenConfig(config, (source) => {
    if ('file' in source) files.add(source.file);
    return '';
  });
  filesOfConfigs.set(config, files);
  return files;
}
