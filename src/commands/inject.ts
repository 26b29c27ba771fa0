import { parseArgs } from 'node:util';
import { readConfigText } from '../documents/config-text.ts';
import { getIn, type Json, textOf } from '../kubernetes/json.ts';
import { changeFiles, joinStreams, type ManifestChange, ManifestError } from '../kubernetes/manifest-stream.ts';
import { closingAdvice } from '../kubernetes/network-policy.ts';
import { INJECTION_FLAGS, optionsFromFlags } from '../kubernetes/option-sources.ts';
import { CONFIG_KEY, configMapsIn, createPodConfig, type PodConfig } from '../kubernetes/pod-config.ts';
import { injectPod } from '../kubernetes/pod-injection.ts';
import { uninjectPod } from '../kubernetes/pod-restoration.ts';
import { type ConfigMapName, changeManifest, type Note, type PodChange } from '../kubernetes/workloads.ts';
import { printable } from '../observability/printable.ts';
import { readVersion } from '../version.ts';
import { type Command, EXIT, failed, UsageError } from './command.ts';
import { printProblems } from './report-problems.ts';
import { USAGES } from './usages.ts';

/**
 * Injects cambist into every pod of the manifests. Prints the manifests, and one line for each object on standard error. With
 * `--config` it checks the config for these pods, and prints its ConfigMap as well. At the end it says how to close the ports to
 * which agents were moved.
 */
export const inject: Command = async (args) => {
  const options = { ...INJECTION_FLAGS, ...USAGES.inject.flags };
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options });
  const settings = { flags: optionsFromFlags(values), version: readVersion(), optIn: false, update: true };
  const { config: file } = values;
  let given: PodConfig | undefined;
  if (file !== undefined) {
    const read = await readConfigText(file);
    if ('problem' in read) return failed(`${file}: ${read.problem}`);
    given = createPodConfig(read.text, file);
  }
  const advice: string[] = [];
  const start = (manifests: readonly Json[]): Changes => {
    if (given !== undefined && manifests.some((manifest) => getIn(manifest, ['kind']) === 'ResourceList')) {
      throw new ManifestError('a ResourceList has the config in a ConfigMap: leave out --config');
    }
    const found = given === undefined ? configsIn(manifests) : [];
    const changePod: PodChange = (template, layout, namespace) => {
      const configOf = (name: string) => given ?? findConfig(found, name, namespace);
      const injection = injectPod(template, { ...settings, layout, configOf });
      const text = injection.outcome === 'injected' ? closingAdvice(injection.template, layout) : undefined;
      if (text !== undefined) advice.push(text);
      return injection;
    };
    const configs = given === undefined ? found.map(({ config }) => config) : [given];
    return { change: (manifest) => changeManifest(manifest, changePod), configs };
  };
  const code = await changeAll(positionals, start, { printed: given, dropsPrinted: given !== undefined });
  if (code === EXIT.done) for (const text of advice) console.error(`cambist: ${text}`);
  return code;
};

/** The change of a manifest, and the configs by which its pods are checked. */
interface Changes {
  readonly change: ManifestChange;
  readonly configs: readonly PodConfig[];
}

/** Changes the manifests of all files and prints them. If one object is refused, no manifest is printed. */
async function changeAll(
  files: readonly string[],
  start: (manifests: readonly Json[]) => Changes,
  { printed, dropsPrinted }: { printed?: PodConfig | undefined; dropsPrinted: boolean },
): Promise<number> {
  if (files.length === 0) throw new UsageError('name at least one manifest file, or - for standard input');
  let known: readonly PodConfig[] = [];
  const prepare = (manifests: readonly Json[]): ManifestChange => {
    const { change, configs } = start(manifests);
    known = configs;
    return change;
  };
  try {
    const { text, notes } = await changeFiles(files, prepare, { dropsPrinted });
    for (const config of known) printProblems(config.problems());
    for (const note of notes) console.error(describe(note));
    const refused = notes.filter(({ outcome }) => outcome === 'refused').length;
    if (refused > 0) return failed(`cambist: ${refused} of ${notes.length} objects refused: no manifest is printed`);
    process.stdout.write(printed === undefined ? text : joinStreams(configMapsFor(printed, notes), text));
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    return failed(printable(`cambist: ${error.message}`));
  }
}

/** @throws {ManifestError} if the manifests have a ConfigMap of the same name */
function configMapsFor(config: PodConfig, notes: readonly Note[]): string {
  const objects = new Set(notes.filter(({ outcome }) => outcome !== 'removed').map(({ object }) => object));
  const twice = notes.find(({ configMap }) => configMap !== undefined && objects.has(`configmap/${configMap.name}`));
  if (twice === undefined) return config.configMaps(notes);
  const { name } = twice.configMap ?? {};
  throw new ManifestError(`the manifests already have a ConfigMap "${name}": remove it, or leave out --config`);
}

function describe({ object, outcome, reasons }: Note): string {
  return printable(`${object}: ${[outcome, ...(reasons.length === 0 ? [] : [reasons.join('; ')])].join(': ')}`);
}

/** Removes from manifests what `inject` added, and restores what it replaced. */
export const uninject: Command = async (args) => {
  const options = USAGES.uninject.flags;
  const { positionals } = parseArgs({ args: [...args], allowPositionals: true, options });
  const change: ManifestChange = (manifest) => changeManifest(manifest, uninjectPod);
  return changeAll(positionals, () => ({ change, configs: [] }), { dropsPrinted: true });
};

interface StreamConfig extends ConfigMapName {
  readonly config: PodConfig;
}

/** The configs in the ConfigMaps among manifests. */
function configsIn(manifests: readonly Json[]): StreamConfig[] {
  return configMapsIn(manifests).flatMap((manifest) => {
    const text = textOf(getIn(manifest, ['data', CONFIG_KEY]));
    const name = textOf(getIn(manifest, ['metadata', 'name']));
    if (text === undefined || name === undefined) return [];
    const namespace = textOf(getIn(manifest, ['metadata', 'namespace']));
    const keys = ['data', 'binaryData'].flatMap((part) => Object.keys(getIn(manifest, [part]) ?? {}));
    return [{ name, namespace, config: createPodConfig(text, `ConfigMap ${name}, ${CONFIG_KEY}`, keys) }];
  });
}

/** The config that a pod mounts. An object without a namespace is applied to any. */
function findConfig(configs: readonly StreamConfig[], name: string, namespace: string | undefined) {
  const named = configs.filter((one) => one.name === name);
  const exact = named.find((one) => one.namespace === namespace);
  return (exact ?? named.find((one) => one.namespace === undefined || namespace === undefined))?.config;
}
