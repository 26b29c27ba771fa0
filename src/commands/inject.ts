import { parseArgs } from 'node:util';
import { readConfigText } from '../config/load.ts';
import { INJECTION_FLAGS, optionsFromFlags } from '../kubernetes/flags.ts';
import { getIn, type Json } from '../kubernetes/json.ts';
import { changeFiles } from '../kubernetes/manifest-files.ts';
import { type ChangedStream, ManifestError, type ManifestStream } from '../kubernetes/manifest-stream.ts';
import { closingAdvice } from '../kubernetes/network-policy.ts';
import { type Covers, createPodConfig, type PodConfig } from '../kubernetes/pod-config.ts';
import { type InjectionRequest, injectPod } from '../kubernetes/pod-injection.ts';
import { joinPrinted } from '../kubernetes/printed-config.ts';
import { configsIn, findConfig } from '../kubernetes/stream-configs.ts';
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

/** A config with its text, for source excerpts. */
interface KnownConfig {
  readonly config: PodConfig;
  readonly text: string;
}

/** How a stream changes, and the configs by which its pods are checked. */
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
export async function changeAll(
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
