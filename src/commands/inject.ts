import { parseArgs } from 'node:util';
import { readConfigText } from '../config/load.ts';
import { INJECTION_FLAGS, optionsFromFlags } from '../kubernetes/flags.ts';
import { changeFiles, joinManifests } from '../kubernetes/manifest-files.ts';
import { ManifestError } from '../kubernetes/manifest-stream.ts';
import { closingAdvice } from '../kubernetes/network-policy.ts';
import { createPodConfig, type PodConfig } from '../kubernetes/pod-config.ts';
import { type InjectionRequest, injectPod } from '../kubernetes/pod-injection.ts';
import { changeManifest, type Note, type PodChange } from '../kubernetes/workloads.ts';
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
  const { config: file } = values;
  if (file === undefined) {
    const settings = { flags, version, optIn: false, update: true };
    return withAdvice(positionals, settings);
  }
  const read = await readConfigText(file);
  if ('problem' in read) {
    console.error(`${file}: ${read.problem}`);
    return EXIT.failed;
  }
  const config = createPodConfig(read.text, file);
  const settings = { flags: { ...config.ports, ...flags }, version, optIn: false, update: true, check: config.check };
  return withAdvice(positionals, settings, { config, text: read.text });
};

/** Injects cambist, and then says how to close the ports to which agents were moved. */
async function withAdvice(
  files: readonly string[],
  settings: Omit<InjectionRequest, 'layout'>,
  printed?: Parameters<typeof changeAll>[2],
): Promise<number> {
  const advice: string[] = [];
  const code = await changeAll(
    files,
    (template, layout) => {
      const injection = injectPod(template, { ...settings, layout });
      const text = injection.outcome === 'injected' ? closingAdvice(injection.template, layout) : undefined;
      if (text !== undefined) advice.push(text);
      return injection;
    },
    printed,
  );
  if (code === EXIT.done) for (const text of advice) console.error(`cambist: ${text}`);
  return code;
}

/** Changes the manifests of all files and prints them. If one object is refused, no manifest is printed. */
export async function changeAll(
  files: readonly string[],
  change: PodChange,
  added?: { readonly config: PodConfig; readonly text: string },
): Promise<number> {
  if (files.length === 0) throw new UsageError('name at least one manifest file, or - for standard input');
  try {
    const { text, notes } = await changeFiles(files, (manifest) => changeManifest(manifest, change));
    const colour = showsColour(process.stderr);
    for (const problem of added?.config.problems() ?? []) {
      console.error(describeProblem(problem, added?.text ?? '', colour));
    }
    for (const note of notes) console.error(describe(note));
    const refused = notes.filter(({ outcome }) => outcome === 'refused').length;
    if (refused > 0) {
      console.error(`cambist: ${refused} of ${notes.length} objects refused: no manifest is printed`);
      return EXIT.failed;
    }
    process.stdout.write(added === undefined ? text : joinManifests(configMapsFor(added.config, notes), text));
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    console.error(`cambist: ${error.message}`);
    return EXIT.failed;
  }
}

/** @throws {ManifestError} if the manifests have a ConfigMap of the same name */
function configMapsFor(config: PodConfig, notes: readonly Note[]): string {
  const objects = new Set(notes.map(({ object }) => object));
  const twice = notes.find(({ configMap }) => configMap !== undefined && objects.has(`configmap/${configMap.name}`));
  if (twice === undefined) return config.configMaps(notes);
  const { name } = twice.configMap ?? {};
  throw new ManifestError(`the manifests already have a ConfigMap "${name}": remove it, or leave out --config`);
}

function describe({ object, outcome, reasons }: Note): string {
  return `${object}: ${[outcome, ...(reasons.length === 0 ? [] : [reasons.join('; ')])].join(': ')}`;
}
