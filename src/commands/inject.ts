import { parseArgs } from 'node:util';
import { readConfigText } from '../config/load.ts';
import { getIn, isArray, type Json, textOf } from '../kubernetes/json.ts';
import {
  type ChangedStream,
  changeFiles,
  joinPrinted,
  ManifestError,
  type ManifestStream,
} from '../kubernetes/manifest-stream.ts';
import { closingAdvice } from '../kubernetes/network-policy.ts';
import { INJECTION_FLAGS, optionsFromFlags } from '../kubernetes/option-sources.ts';
import { type Covers, createPodConfig, type PodConfig } from '../kubernetes/pod-config.ts';
import { type InjectionRequest, injectPod } from '../kubernetes/pod-injection.ts';
import { uninjectPod } from '../kubernetes/pod-restoration.ts';
import { changeManifest, type Note, type PodChange } from '../kubernetes/workloads.ts';
import { printable } from '../observability/printable.ts';
import { allowedTunnel, readAuthority } from '../proxy/connect-authority.ts';
import { createRouteTable } from '../routing/route-table.ts';
import { readVersion } from '../version.ts';
import { type Command, EXIT, UsageError } from './command.ts';
import { describeProblem, showsColour } from './print-problems.ts';
import { USAGES } from './usages.ts';

/**
 * Injects cambist into every pod of the manifests. Prints the manifests, and one line for each object on standard error. With
 * `--config` it checks the config for these pods, and prints its ConfigMap as well.
 */
export const inject: Command = async (args) => {
  const options = { ...INJECTION_FLAGS, ...USAGES.inject.flags };
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options });
  const version = readVersion();
  const flags = optionsFromFlags(values);
  const settings = { flags, version, optIn: false, update: true };
  const { config: file } = values;
  if (file === undefined) return withAdvice(positionals, settings);
  const read = await readConfigText(file);
  if ('problem' in read) {
    console.error(`${file}: ${read.problem}`);
    return EXIT.failed;
  }
  return withAdvice(positionals, settings, { config: createPodConfig(read.text, file, covers), text: read.text });
};

const covers: Covers = ({ routes, forwardProxy }, destination) => {
  const authority = readAuthority(destination);
  if (authority === undefined || createRouteTable(routes).namesHost(authority.host)) return true;
  return allowedTunnel(forwardProxy.connect, authority) !== undefined;
};

interface KnownConfig {
  readonly config: PodConfig;
  readonly text: string;
}

/** The change of a stream, and the configs by which its pods are checked. */
interface Changes {
  readonly change: (stream: ManifestStream) => ChangedStream;
  readonly configs?: readonly KnownConfig[];
}

/**
 * Injects cambist, and then says how to close the ports to which agents were moved.
 * @param given the config of all pods. Otherwise the ConfigMaps of the stream have it
 */
async function withAdvice(
  files: readonly string[],
  settings: Omit<InjectionRequest, 'layout'>,
  given?: KnownConfig,
): Promise<number> {
  const advice: string[] = [];
  const start = (manifests: readonly Json[]): Changes => {
    if (given !== undefined && manifests.some((manifest) => getIn(manifest, ['kind']) === 'ResourceList')) {
      throw new ManifestError('a ResourceList has the config in a ConfigMap: leave out --config');
    }
    const configs = given === undefined ? configsIn(manifests, covers) : [];
    const changePod: PodChange = (template, layout, namespace) => {
      const configOf = (name: string) => given?.config ?? findConfig(configs, name, namespace);
      const injection = injectPod(template, { ...settings, layout, configOf });
      const text = injection.outcome === 'injected' ? closingAdvice(injection.template, layout) : undefined;
      if (text !== undefined) advice.push(text);
      return injection;
    };
    const change = (stream: ManifestStream) => stream.change((manifest) => changeManifest(manifest, changePod));
    return { change, configs: given === undefined ? configs : [given] };
  };
  const code = await changeAll(files, start, { printed: given?.config, dropsPrinted: given !== undefined });
  if (code === EXIT.done) for (const text of advice) console.error(`cambist: ${text}`);
  return code;
}

/**
 * Changes the manifests of all files and prints them. If one object is refused, no manifest is printed.
 * @param start called with all manifests
 * @param printed printed as the ConfigMaps that the pods mount
 * @param dropsPrinted leaves out the ConfigMaps that were printed before
 */
async function changeAll(
  files: readonly string[],
  start: (manifests: readonly Json[]) => Changes,
  { printed, dropsPrinted }: { printed?: PodConfig | undefined; dropsPrinted: boolean },
): Promise<number> {
  if (files.length === 0) throw new UsageError('name at least one manifest file, or - for standard input');
  let known: readonly KnownConfig[] = [];
  try {
    const { text, notes } = await changeFiles(
      files,
      (manifests) => {
        const { change, configs = [] } = start(manifests);
        known = configs;
        return change;
      },
      { dropsPrinted },
    );
    const colour = showsColour(process.stderr);
    for (const one of known) {
      for (const problem of one.config.problems()) console.error(describeProblem(problem, one.text, colour));
    }
    for (const note of notes) console.error(describe(note));
    const refused = notes.filter(({ outcome }) => outcome === 'refused').length;
    if (refused > 0) {
      console.error(`cambist: ${refused} of ${notes.length} objects refused: no manifest is printed`);
      return EXIT.failed;
    }
    process.stdout.write(printed === undefined ? text : joinPrinted(configMapsFor(printed, notes), text));
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    console.error(printable(`cambist: ${error.message}`));
    return EXIT.failed;
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
  const change = (stream: ManifestStream) => stream.change((manifest) => changeManifest(manifest, uninjectPod));
  return changeAll(positionals, () => ({ change }), { dropsPrinted: true });
};

/** The file in the sidecar's config folder. */
const KEY = 'cambist.yaml';

interface StreamConfig {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly text: string;
  readonly config: PodConfig;
}

/** The configs in the ConfigMaps among manifests, and in the items of Lists. */
function configsIn(manifests: readonly Json[], covers: Covers): StreamConfig[] {
  return manifests.flatMap((manifest): StreamConfig[] => {
    const items = getIn(manifest, ['items']);
    if (isArray(items)) return configsIn(items, covers);
    const text = textOf(getIn(manifest, ['data', KEY]));
    const name = textOf(getIn(manifest, ['metadata', 'name']));
    if (getIn(manifest, ['kind']) !== 'ConfigMap' || text === undefined || name === undefined) return [];
    const namespace = textOf(getIn(manifest, ['metadata', 'namespace']));
    return [{ name, namespace, text, config: createPodConfig(text, `ConfigMap ${name}, ${KEY}`, covers) }];
  });
}

/** The config that a pod mounts. An object without a namespace is applied to any. */
function findConfig(configs: readonly StreamConfig[], name: string, namespace: string | undefined) {
  const named = configs.filter((one) => one.name === name);
  const exact = named.find((one) => one.namespace === namespace);
  return (exact ?? named.find((one) => one.namespace === undefined || namespace === undefined))?.config;
}
